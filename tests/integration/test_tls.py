"""Certificates as they are in life: right ones, expired ones, of another CA, replaced while streams are open."""
import shutil
import ssl
import subprocess
import time

import pytest

from conftest import BIN, until
from observed import metrics_of, text_of, value_in
from secured import refusal, secured  # noqa: F401 (a fixture)
from test_access import jobs_of


def start(program, *arguments, **variables):
    """A program that is to refuse to start: exit code and stderr."""
    done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables})
    return done.returncode, done.stderr


def test_a_job_over_tls_from_submit_to_model(secured, tmp_path):  # noqa: F811
    """Worker by its certificate, command by a token, data in the tenant's own folder: the way that a site works."""
    secured.start_worker()
    token = secured.make_token("vision", "user")
    user = jobs_of(secured.secure_channel(token=token), secured)
    pb = secured.pb("job_service")
    until(lambda: refusal(lambda: user.ListJobs(pb.ListJobsRequest())) is None, "the token is known")
    spec = tmp_path / "digits.yaml"
    spec.write_text("""
name: digits
training:
  model: { mlp: { hidden: [16] } }
  data: { train: { idx: { images: digits/train-images.idx, labels: digits/train-labels.idx } } }
  iterations: 20
""")
    done = secured.cli("submit", spec, "--watch", token=token)
    assert done.returncode == 0, done.stdout + done.stderr
    assert user.ListJobs(pb.ListJobsRequest()).jobs[0].tenant == "vision"
    model = tmp_path / "model"
    assert secured.cli("download", "digits", "-O", model, token=token).returncode == 0
    assert model.stat().st_size > 0
    # The same by a certificate, and by the environment.
    certificate, key = secured.make_certificate("client", "vision", "reader")
    shows = {"MANTISSA_TLS_CA": str(secured.certs / "ca.pem"), "MANTISSA_TLS_CERTIFICATE": str(certificate),
             "MANTISSA_TLS_KEY": str(key), "MANTISSA_ADDRESS": secured.address}
    listed = subprocess.run([BIN / "mantissa", "list", "-o", "name"], capture_output=True, text=True, env=shows)
    assert listed.returncode == 0 and listed.stdout.strip(), listed.stderr
    refused = subprocess.run([BIN / "mantissa", "cancel", "digits"], capture_output=True, text=True, env=shows)
    assert refused.returncode == 4 and "ROLE_NOT_ALLOWED" in refused.stderr
    # And by a file.
    config = tmp_path / "client.yaml"
    config.write_text(f"address: {secured.address}\ntls_ca: {secured.certs}/ca.pem\ntls_certificate: {certificate}\n"
                      f"tls_key: {key}\n")
    listed = subprocess.run([BIN / "mantissa", "--config", config, "list"], capture_output=True, text=True, env={})
    assert listed.returncode == 0 and "digits" in listed.stdout, listed.stderr


def test_who_shows_nothing_or_the_wrong_thing_is_told_what_to_do(secured, tmp_path):  # noqa: F811
    ca = secured.certs / "ca.pem"
    nothing = subprocess.run([BIN / "mantissa", "--address", secured.address, "--tls-ca", ca, "list"],
                             capture_output=True, text=True, env={})
    assert nothing.returncode == 4 and "--token-file" in nothing.stderr, nothing.stderr
    unknown = secured.cli("list", token="mantissa_" + "0" * 64)
    assert unknown.returncode == 4 and "does not know the token" in unknown.stderr, unknown.stderr
    # Plain text to a server with TLS, and a CA that did not sign: no server can be reached, and the words say why.
    plain = subprocess.run([BIN / "mantissa", "--address", secured.address, "list"], capture_output=True, text=True,
                           env={})
    assert plain.returncode == 6 and "--tls-ca" in plain.stderr, plain.stderr
    other, _ = secured.make_certificate("server", "localhost", folder=tmp_path / "other-ca")
    wrong = subprocess.run([BIN / "mantissa", "--address", secured.address, "--tls-ca", other.parent / "ca.pem",
                            "list"], capture_output=True, text=True, env={})
    assert wrong.returncode == 6 and "--tls-ca" in wrong.stderr and "certificate" in wrong.stderr, wrong.stderr
    # A server that is called by a name that its certificate does not have.
    port = secured.address.rsplit(":", 1)[1]
    named = subprocess.run([BIN / "mantissa", "--address", f"127.0.0.2:{port}", "--tls-ca", ca, "list"],
                           capture_output=True, text=True, env={})
    assert named.returncode == 6, named.stderr
    # What would send a secret in plain text is refused before anything is sent.
    token = tmp_path / "token"
    token.write_text(secured.root)
    code, said = start("mantissa", "--address", secured.address, "--token-file", token, "list")
    assert code == 2 and "--token-file" in said and "TLS" in said and "--tls-ca" in said and secured.root not in said


def test_mistakes_are_said_before_anything_starts(secured, tmp_path):  # noqa: F811
    """Of server, worker and command alike: the flag, what is wrong, what would be right."""
    certificate, key = secured.certs / "server.pem", secured.certs / "server-key.pem"
    _, other_key = secured.make_certificate("worker", "ws-9")
    expired, expired_key = secured.make_certificate("client", "old", "user", days=-1)
    empty = tmp_path / "empty"
    empty.write_text("")
    locked = tmp_path / "locked.pem"
    subprocess.run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked], check=True)
    wrong = [
        (certificate, "", "--tls-key: is missing"),
        ("", key, "--tls-certificate: is missing"),
        (tmp_path / "none.pem", key, "--tls-certificate: "),
        (certificate, tmp_path / "none.pem", "--tls-key: "),
        (certificate, other_key, "--tls-key: "),
        (certificate, locked, "has a passphrase"),
        (empty, key, "is no certificate in PEM"),
        (certificate, certificate, "is no private key in PEM"),
        (key, key, "is no certificate in PEM"),
        (expired, expired_key, "expired on "),
    ]
    ca = secured.certs / "ca.pem"
    data = tmp_path / "made"
    programs = {
        "mantissa-server": ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir", data],
        "mantissa-worker": ["--tls-ca", ca, "--state-dir", tmp_path / "state"],
        "mantissa": ["--tls-ca", ca, "list"],
    }
    for program, arguments in programs.items():
        for certificate_given, key_given, said in wrong:
            flags = ["--tls-certificate", certificate_given] if certificate_given else []
            flags += ["--tls-key", key_given] if key_given else []
            code, text = start(program, *flags, *arguments)
            assert code == 2 and said in text, f"{program} {flags}: {code} {text}"
            assert ";" in text, f"{program}: no remedy in {text}"
            assert "PRIVATE KEY-----\n" not in text
    assert not data.exists(), "the server has made nothing"
    # A CA and tokens without TLS; a token in the place of its hash.
    for flags, said in [(["--tls-client-ca", ca], "--tls-client-ca: needs TLS"),
                        (["--tokens", secured.tokens], "--tokens: needs TLS"),
                        (["--tls-certificate", certificate, "--tls-key", key, "--tokens", tmp_path / "none"],
                         "--tokens: "),
                        (["--tls-certificate", certificate, "--tls-key", key, "--tls-client-ca", empty],
                         "--tls-client-ca: ")]:
        code, text = start("mantissa-server", *flags, *programs["mantissa-server"])
        assert code == 2 and said in text, f"{flags}: {code} {text}"
    mistaken = tmp_path / "tokens"
    mistaken.write_text(f"{secured.root} ops admin\n")
    code, text = start("mantissa-server", "--tls-certificate", certificate, "--tls-key", key, "--tokens", mistaken,
                       *programs["mantissa-server"])
    assert code == 2 and "line 1" in text and "mantissa token" in text and secured.root not in text


def test_a_bind_that_others_reach_needs_tls_and_authentication(secured, tmp_path):  # noqa: F811
    base = ["--listen", "0.0.0.0:0", "--metrics-listen", "127.0.0.1:0", "--data-dir", tmp_path / "made"]
    tls = ["--tls-certificate", secured.certs / "server.pem", "--tls-key", secured.certs / "server-key.pem"]
    for flags in ([], tls):
        code, text = start("mantissa-server", *base, *flags)
        assert code == 2 and "--listen: " in text and "--insecure-allow-remote" in text and "--tokens" in text, text
    code, text = start("mantissa-server", *base[:2], "--metrics-listen", "0.0.0.0:0", *base[4:], *tls, "--tokens",
                       secured.tokens)
    assert code == 2 and "--metrics-listen: " in text, text
    secured.server.terminate()
    secured.address = "0.0.0.0:0"
    secured.start_server()
    secured.address = secured.address.replace("0.0.0.0", "127.0.0.1")
    assert refusal(lambda: secured.jobs().ListJobs(secured.pb("job_service").ListJobsRequest())) is None


@pytest.mark.parametrize("which", ["expired", "of another CA"])
def test_a_client_certificate_that_is_not_good_is_not_let_in(secured, tmp_path, which):  # noqa: F811
    folder, days = (secured.certs, -1) if which == "expired" else (tmp_path / "other-ca", 365)
    certificate, key = secured.make_certificate("client", "ops", "admin", folder=folder, days=days)
    channel = secured.secure_channel(certificate=certificate, key=key)
    assert refusal(lambda: jobs_of(channel, secured).ListJobs(secured.pb("job_service").ListJobsRequest())) == (
        "UNAVAILABLE", "")
    # Nobody is called an admin for having tried.
    good, good_key = secured.make_certificate("client", "ops", "admin")
    channel = secured.secure_channel(certificate=good, key=good_key)
    assert refusal(lambda: jobs_of(channel, secured).ListJobs(secured.pb("job_service").ListJobsRequest())) is None


def test_a_certificate_that_names_nobody_is_nobody(secured, tmp_path):  # noqa: F811
    """Signed by the CA, and still nobody: the server's own certificate, shown by a client."""
    channel = secured.secure_channel(certificate=secured.certs / "server.pem", key=secured.certs / "server-key.pem")
    refused = refusal(lambda: jobs_of(channel, secured).ListJobs(secured.pb("job_service").ListJobsRequest()))
    assert refused in [("UNAUTHENTICATED", ""), ("UNAVAILABLE", "")]  # its usage is serverAuth alone


def test_a_worker_that_is_not_who_it_says_is_told_so(secured):  # noqa: F811
    certificate, key = secured.make_certificate("worker", "ws-2")
    worker = secured.launch_worker("ws-1", MANTISSA_TLS_CERTIFICATE=str(certificate), MANTISSA_TLS_KEY=str(key))
    until(lambda: "does not let this worker in" in worker.log_text(), "the worker says so")
    assert "spiffe://mantissa/worker/ws-1" in worker.log_text() and "ws-2" in worker.log_text()
    bare = secured.launch_worker("ws-3", MANTISSA_TLS_CERTIFICATE="", MANTISSA_TLS_KEY="")
    until(lambda: "does not let this worker in" in bare.log_text(), "so does one that shows nothing")
    listed = secured.admin().ListWorkers(secured.pb("admin_service").ListWorkersRequest()).workers
    assert not {"ws-1", "ws-3"} & {found.id for found in listed}, "the server has not heard of them"


def serial(address):
    """Of the certificate that a server shows."""
    host, port = address.rsplit(":", 1)
    return ssl.get_server_certificate((host, int(port)))


def test_a_new_certificate_is_told_though_it_ends_in_the_same_second(secured):  # noqa: F811
    """As two do that are made at once, and any two that end with their CA."""
    at = "2026-01-01 12:00:00"
    secured.make_certificate("server", "localhost", "127.0.0.1", at=at, days=3650)
    said = "a new TLS certificate is in use"
    until(lambda: secured.server.log_text().count(said) == 1, "the log says so")
    secured.make_certificate("server", "localhost", "127.0.0.1", at=at, days=3650)
    until(lambda: secured.server.log_text().count(said) == 2, "and again")


def test_certificates_are_replaced_while_streams_are_open(secured):  # noqa: F811
    pb = secured.pb("job_service")
    worker = secured.start_worker()
    watcher = jobs_of(secured.channel(), secured)
    job = watcher.SubmitJob(pb.SubmitJobRequest(spec=secured.digits(iterations=50_000_000)))
    stream = watcher.WatchJob(pb.WatchJobRequest(job_id=job.id))
    next(stream)
    secured.wait_iteration(job.id, 10)
    before = serial(secured.address)

    # The server's, in place, as deploy/certs.sh does it.
    secured.make_certificate("server", "localhost", "127.0.0.1")
    until(lambda: serial(secured.address) != before, "new connections are shown the new certificate")
    until(lambda: "a new TLS certificate is in use" in secured.server.log_text(), "the log says so")
    # The key, too: written beside and renamed, certificate and key each whole. In between the pair does not match, and
    # new connections wait; who is connected notices nothing.
    fresh = secured.folder / "fresh"
    shutil.copytree(secured.certs, fresh)
    (fresh / "server-key.pem").unlink()
    secured.make_certificate("server", "localhost", "127.0.0.1", folder=fresh)
    now = serial(secured.address)
    (fresh / "server.pem").rename(secured.certs / "server.pem")
    until(lambda: "is not the key of --tls-certificate" in secured.server.log_text(), "the log says what is wrong")
    (fresh / "server-key.pem").rename(secured.certs / "server-key.pem")

    def shown():
        try:
            return serial(secured.address)
        except OSError:
            return now

    until(lambda: shown() != now, "new connections are shown the newest certificate")
    # The worker's: it goes on, and so does its connection after it was made anew. It shows when its new one ends, and of
    # one that has expired goes on to show when.
    def worker_ends():
        return value_in(text_of(metrics_of(worker)), "mantissa_worker_certificate_expiry_timestamp_seconds")

    day = 86_400
    assert 364 * day < worker_ends() - time.time() <= 365 * day
    secured.make_certificate("worker", "ws-1", days=2)
    until(lambda: day < worker_ends() - time.time() <= 2 * day, "its metric is that of the new one")
    ends = worker_ends()
    secured.make_certificate("worker", "ws-1", days=-1)
    until(lambda: "--tls-certificate: " in worker.log_text() and "expired on" in worker.log_text(), "its log says why")
    assert "new connections to the server may fail" in worker.log_text()
    assert worker_ends() == ends, "what was right last"
    secured.make_certificate("worker", "ws-1")
    until(lambda: worker_ends() > ends + 362 * day, "its metric is that of the newest one")
    assert worker.log_text().count("a new TLS certificate is in use") == 2, "the two that were right"
    for _ in range(3):
        frame = next(stream)
        assert not frame.end
    assert worker.running and secured.get(job.id).state == secured.pb("job").Job.RUNNING
    assert jobs_of(secured.channel(), secured).GetJob(pb.GetJobRequest(job_id=job.id)).id == job.id
    secured.server.kill()
    secured.start_server()
    iteration = secured.get(job.id).progress.iteration
    secured.wait_iteration(job.id, iteration + 10)
    assert secured.get(job.id).state == secured.pb("job").Job.RUNNING, "the same attempt, by the new certificates"
    stream.cancel()


def test_a_certificate_that_ends_is_announced_and_then_refused(secured):  # noqa: F811
    """The server's own, expired under it: clients refuse it, the log says when and why, and a new one heals it."""
    from test_access import scrape
    assert "mantissa_server_certificate_expiry_timestamp_seconds" in until(
        lambda: (lambda text: text if "certificate_expiry_timestamp_seconds " in text else None)(scrape(secured)),
        "the metrics say when it ends")
    listing = secured.pb("job_service").ListJobsRequest()
    secured.make_certificate("server", "localhost", "127.0.0.1", days=-1)
    until(lambda: "expired on " in secured.server.log_text(), "the log says so")

    def refused():
        return refusal(lambda: jobs_of(secured.channel(), secured).ListJobs(listing)) == ("UNAVAILABLE", "")

    until(refused, "clients refuse it")
    secured.make_certificate("server", "localhost", "127.0.0.1")
    until(lambda: not refused(), "a new one is taken up")
