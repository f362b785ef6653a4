"""Secrets that are planted where operators keep them, and looked for wherever Mantissa says anything."""
import pathlib
import subprocess
import urllib.request

from conftest import BIN, until
from secured import refusal, secured  # noqa: F401 (a fixture)
from test_access import Method, jobs_of, served

PASSWORD = "canary-password-4f1c"
MLFLOW = "canary-mlflow-9b27"


def key_text(path):
    """A line of a private key, as a log would show it."""
    return path.read_text().splitlines()[1]


def said_by(program, *arguments, **variables):
    done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables})
    return done.stdout + done.stderr


def test_planted_secrets_are_written_nowhere(secured, tmp_path):  # noqa: F811
    said = {}  # where -> text or bytes
    secured.server.terminate()
    secured.start_server(MANTISSA_LOG_LEVEL="debug")
    # MLflow is not there, so what the worker says of it is an error.
    worker = secured.start_worker(MLFLOW_TRACKING_TOKEN=MLFLOW, MANTISSA_MLFLOW_URI="http://127.0.0.1:1",
                                  MANTISSA_LOG_LEVEL="debug")
    token = secured.make_token("vision", "user", name="a laptop")
    secrets = {"root's token": secured.root, "a user's token": token, "MLflow's token": MLFLOW,
               "the password of PostgreSQL": PASSWORD,
               "the server's key": key_text(secured.certs / "server-key.pem"),
               "the CA's key": key_text(secured.certs / "ca-key.pem"),
               "the worker's key": key_text(secured.certs / "worker-ws-1-key.pem")}

    pb = secured.pb("job_service")
    user = jobs_of(secured.secure_channel(token=token), secured)
    until(lambda: refusal(lambda: user.ListJobs(pb.ListJobsRequest())) is None, "the token is known")
    job = user.SubmitJob(pb.SubmitJobRequest(spec=secured.digits(iterations=30, checkpoint_every=10)))
    failing = user.SubmitJob(pb.SubmitJobRequest(spec=secured.diverging()))
    secured.wait_state(job.id, "SUCCEEDED")
    secured.wait_state(failing.id, "FAILED")
    until(lambda: "mlflow" in worker.log_text().lower(), "the worker has said that MLflow fails")

    # What every method answers, errors and their details included, to who may call it and to who may not.
    for caller, channel in [("root", secured.channel()), ("user", secured.secure_channel(token=token)),
                            ("an unknown token", secured.secure_channel(token=token + "x"))]:
        for method in served(secured.channel()):
            if method.name.endswith(("DrainWorker", "DeleteJob")):
                continue
            try:
                answer = Method.call(method, channel, method.fill(job.id, "ws-1"))
                said[f"{method.name} to {caller}"] = answer.SerializeToString() if answer is not None else b""
            except Exception as error:  # noqa: BLE001 (whatever it is, its words count)
                said[f"{method.name} refused to {caller}"] = repr(error)
    # Mistakes with the right secrets in the wrong place.
    mistaken = tmp_path / "mistaken"
    mistaken.write_text(f"{token} vision user\nsha256:{token} vision user\n")
    base = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir", tmp_path / "made"]
    tls = ["--tls-certificate", secured.certs / "server.pem", "--tls-key", secured.certs / "server-key.pem"]
    url = f"postgresql://mantissa:{PASSWORD}@127.0.0.1:1/mantissa"
    said["wrong tokens"] = said_by("mantissa-server", *base, *tls, "--tokens", mistaken)
    said["key for certificate"] = said_by("mantissa-server", *base, "--tls-certificate",
                                          secured.certs / "server-key.pem", "--tls-key", secured.certs / "server.pem")
    said["key for tokens"] = said_by("mantissa-server", *base, *tls, "--tokens", secured.certs / "server-key.pem")
    said["key for a token"] = said_by("mantissa", "--tls-ca", secured.certs / "ca.pem", "--token-file",
                                      secured.certs / "server-key.pem", "list")
    said["a token for an address"] = said_by("mantissa", "--token-file", tmp_path / "mistaken", "list")
    said["a connection string that is none"] = said_by("mantissa-server", *base, "--postgres", f"password={PASSWORD} =")
    said["a backup of PostgreSQL"] = said_by("mantissa-server", *base, "--postgres", url, "backup", tmp_path / "copy")
    said["MLflow with a password"] = said_by("mantissa-worker", "--state-dir", tmp_path / "state", "--mlflow-uri",
                                             f"http://user:{MLFLOW}@127.0.0.1:1")
    # Configurations as they are printed.
    said["the server's settings"] = said_by("mantissa-server", *base, *tls, "--tokens", secured.tokens,
                                            "--print-config", MANTISSA_POSTGRES=url)
    assert "tls_key" in said["the server's settings"] and "postgres: (hidden)" in said["the server's settings"]
    said["the worker's settings"] = said_by("mantissa-worker", "--print-config", MLFLOW_TRACKING_TOKEN=MLFLOW,
                                            MANTISSA_TLS_KEY=str(secured.certs / "worker-ws-1-key.pem"))
    for command in (["doctor"], ["list"], ["get", job.id], ["events", job.id], ["logs", job.id], ["workers"]):
        done = secured.cli(*command, token=token)
        said[f"mantissa {command[0]}"] = done.stdout + done.stderr

    # A server that can't reach its PostgreSQL says so again and again.
    from conftest import Program
    standby = Program("standby", ["mantissa-server", *base, "--log-level", "debug"], tmp_path, MANTISSA_POSTGRES=url)
    until(lambda: "standing by" in standby.log_text(), "the standby has tried")
    standby.kill()
    for program in (secured.server, worker, standby):
        said[f"the log of {program.name}"] = program.log_text()
    for name, address in [("server", secured.metrics)]:
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            said[f"the metrics of the {name}"] = answer.read()
    for path in secured.folder.rglob("*"):
        kept = secured.certs in path.parents or path.name.startswith("token-of")
        if path.is_file() and not kept and secured.data not in path.parents:
            said[f"the file {path.relative_to(secured.folder)}"] = path.read_bytes()

    for where, text in said.items():
        found = text if isinstance(text, bytes) else text.encode()
        if where == "the file mistaken":
            continue  # the test's own
        for name, secret in secrets.items():
            assert secret.encode() not in found, f"{name} is in {where}"
    assert len(said) > 80, "the places that were looked at"
    print(f"{len(secrets)} secrets, looked for in {len(said)} places")


def test_trainers_inherit_no_secret(secured):  # noqa: F811
    worker = secured.start_worker(MLFLOW_TRACKING_TOKEN=MLFLOW, MANTISSA_MLFLOW_URI="http://127.0.0.1:1",
                                  PGPASSWORD=PASSWORD)
    job = secured.submit(secured.digits(iterations=50_000_000))
    secured.wait_state(job.id, "RUNNING")
    pids = secured.trainer_pids(worker)
    assert pids
    for pid in pids:
        environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        assert MLFLOW.encode() not in environment and PASSWORD.encode() not in environment
        assert b"MANTISSA_TLS_KEY" not in environment
