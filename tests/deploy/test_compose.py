"""docker-compose.yml, brought up for real by a Docker daemon of this test's own: from images of the programs that were built,
with Debian's Prometheus under the name of the official one. Grafana is nowhere to be had offline: what it would read is held
to what the file mounts (test_compose_files.py), and the service is left out here."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import docker_daemon  # noqa: E402
from docker_daemon import until  # noqa: E402

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release"))
BIN = pathlib.Path(os.environ.get("MANTISSA_BIN_DIR", BUILD / "bin"))
DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", ROOT / "build/deps"))
FILE = ROOT / "docker-compose.yml"
SERVICES = ("server", "worker", "prometheus")
VERSION = re.search(r"^project\(mantissa VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]
USER = "10001:10001"
MEGABYTE = 1_000_000


class Stack:
    """The services of docker-compose.yml, and of an overlay, under a project name of this process."""

    def __init__(self, daemon, overlay=None, **variables):
        self.daemon = daemon
        self.project = f"mantissa-test-{os.getpid()}" + (f"-{overlay}" if overlay else "")
        self.files = [FILE, *([ROOT / f"deploy/compose/{overlay}.yaml"] if overlay else [])]
        # Ports that the system chooses.
        self.environment = daemon.environment | {"MANTISSA_PORT": "0", "PROMETHEUS_PORT": "0", "MANTISSA_WORKER_MEMORY": "2g"} | variables
        self.credentials = []  # flags of the command

    def compose(self, *arguments):
        files = [word for file in self.files for word in ("-f", file)]
        return docker_daemon.run("docker-compose", "-p", self.project, *files, *arguments, env=self.environment)

    def up(self):
        self.compose("up", "-d", "--no-build", *SERVICES)
        for service in SERVICES:
            until(lambda s=service: self.inspected(s)["State"]["Health"]["Status"] == "healthy",
                  f"{service} is healthy; it is {json.dumps(self.inspected(service)['State'])[-1000:]}")

    def inspected(self, service):
        container, = self.compose("ps", "-q", service).split()
        return json.loads(self.daemon.docker("inspect", container))[0]

    def address(self, service, port):
        return self.compose("port", service, str(port)).strip()

    def mantissa(self, *arguments):
        done = self.asked(*self.credentials, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def asked(self, *arguments):
        """How a command ended that shows nothing by itself."""
        return subprocess.run([BIN / "mantissa", "--address", self.address("server", 50051), *arguments],
                              capture_output=True, text=True, timeout=300)

    def submit(self, example, *overrides):
        """The id of the job."""
        sets = [word for override in overrides for word in ("--set", override)]
        return self.mantissa("submit", str(ROOT / "client/examples" / example), *sets, "-o", "name").strip()

    def prometheus(self, query):
        url = f"http://{self.address('prometheus', 9090)}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with docker_daemon.with_base(tmp_path_factory.mktemp("docker"), DEPS / "debian-bookworm-slim.tar") as started:
        yield started


@pytest.fixture(scope="module")
def images(daemon, tmp_path_factory):
    """Made as CI would for a release: of the tree that cmake --install makes of this build."""
    trees = tmp_path_factory.mktemp("images")
    docker_daemon.run(ROOT / "deploy/docker/build.sh", "--build-dir", BUILD, "--tree", trees, "server", "worker",
                      env=daemon.environment)
    for tree in ("server", "worker"):
        shutil.rmtree(trees / tree)  # half a gigabyte that pytest would keep
    reference = yaml.safe_load(FILE.read_text())["services"]["prometheus"]["image"]
    docker_daemon.prometheus_image(daemon, tmp_path_factory.mktemp("prometheus"), reference)
    return trees


@contextlib.contextmanager
def running(made):
    try:
        made.up()
        yield made
    finally:
        print(made.compose("logs", "--no-color", "--tail", "40"))
        made.compose("down", "--volumes")


@pytest.fixture(scope="module")
def stack(daemon, images):
    with running(Stack(daemon)) as made:
        yield made


@pytest.fixture
def secured(daemon, images, tmp_path):
    """With tls.yaml, prepared by the commands that it names itself."""
    header = (ROOT / "deploy/compose/tls.yaml").read_text().split("services:")[0]
    lines = [line.removeprefix("#   ") for line in header.splitlines() if line.startswith("#   ")]
    given = tmp_path / "given"
    steps = [line.replace("/srv/mantissa/certificates", str(given)) for line in lines]
    up, use = steps[-2:]
    assert "docker compose" in up and use.endswith(" list") and f"D={given} " in "\n".join(steps)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    docker_daemon.run("bash", "-euc", "\n".join(steps[:-2]), cwd=tmp_path, env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})
    made = Stack(daemon, "tls", MANTISSA_CERTIFICATES=str(given))
    made.ca = tmp_path / "certs/ca.pem"
    made.credentials = ["--tls-ca", made.ca, "--token-file", tmp_path / "my-token"]
    made.given = given
    with running(made):
        yield made


def test_images_run_as_nobody_in_particular_and_say_what_they_are(daemon, images):
    for name in ("server", "worker"):
        image = json.loads(daemon.docker("inspect", f"mantissa/{name}:{VERSION}"))[0]
        config = image["Config"]
        assert config["User"] == USER, name
        assert config["Entrypoint"] == [f"mantissa-{name}"] and not config["Cmd"], "a program, not a shell"
        assert config["Healthcheck"]["Test"][0] == "CMD", name
        labels = config["Labels"]
        assert labels["org.opencontainers.image.title"] == f"mantissa-{name}"
        assert labels["org.opencontainers.image.version"] == VERSION
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_server_image_is_small_and_has_no_libtorch(daemon, images):
    size = {name: json.loads(daemon.docker("inspect", name))[0]["Size"]
            for name in ("debian:bookworm-slim", f"mantissa/server:{VERSION}")}
    beyond = size[f"mantissa/server:{VERSION}"] - size["debian:bookworm-slim"]
    print(f"server image: {beyond / MEGABYTE:.1f} MB beyond the base")
    assert beyond <= 120 * MEGABYTE
    names = {package["name"] for package in json.loads((images / "server.spdx.json").read_text())["packages"]}
    assert "torch" not in names and {"mantissa-server", "mantissa", "libgrpc++1.51", "libsqlite3-0"} <= names


def test_each_list_of_contents_is_what_its_image_has(daemon, images):
    for name in ("server", "worker"):
        document = json.loads((images / f"{name}.spdx.json").read_text())
        listed = {package["name"]: package["versionInfo"] for package in document["packages"]
                  if package["SPDXID"].startswith("SPDXRef-deb-") and not package["name"].endswith("-dev")}
        there = daemon.docker("run", "--rm", "--entrypoint", "dpkg-query", f"mantissa/{name}:{VERSION}", "--show",
                              "--showformat", "${Package} ${Version}\n")
        assert listed == dict(line.split() for line in there.splitlines()), name
    wheels = {package["name"]: package["versionInfo"] for package in document["packages"]
              if package["SPDXID"].startswith("SPDXRef-wheel-")}
    assert wheels["torch"] == "2.11.0"


def test_what_runs_may_do_no_more_than_it_must(stack):
    for service in SERVICES:
        found = stack.inspected(service)
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert host["Memory"] > 0 and host["NanoCpus"] > 0, service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert not found["Config"]["User"].startswith("0") and found["Config"]["User"], service
        for bindings in found["NetworkSettings"]["Ports"].values():
            assert all(binding["HostIp"] == "127.0.0.1" for binding in bindings or []), service


def test_a_job_submitted_from_outside_is_trained_and_seen_and_outlives_the_containers(stack):
    job = stack.submit("digits_fp16.yaml")
    stack.mantissa("wait", job)
    before = json.loads(stack.mantissa("get", job, "-o", "json"))
    assert before["state"] == "SUCCEEDED", before
    records = stack.mantissa("history", job, "-o", "csv")
    assert len(records.splitlines()) > 100

    # Its series are gone when a job ends, so that one is watched which is still at it.
    running = stack.submit("digits_fp16.yaml", "training.epochs=1000000")
    series = f'mantissa_job_iteration{{job_id="{running}"}}'
    until(lambda: stack.prometheus(series), "Prometheus has the series of the job that runs")
    until(lambda: {entry["metric"]["job"] for entry in stack.prometheus("up == 1")} == {"mantissa-server", "mantissa-worker"},
          "Prometheus scrapes server and worker")
    assert stack.prometheus('mantissa_jobs_ended_total{state="succeeded"} == 1')
    stack.mantissa("cancel", running)

    stack.compose("down")
    stack.up()
    assert json.loads(stack.mantissa("get", job, "-o", "json")) == before
    assert stack.mantissa("history", job, "-o", "csv") == records
    assert stack.prometheus(f"count_over_time({series}[1h])"), "Prometheus keeps what it had seen"
    # Checkpoints are in a volume, too: another job begins with one.
    stack.mantissa("wait", stack.submit("digits_from_checkpoint.yaml", f"training.init_from.job_id={job}"))


def test_with_tls_a_job_from_outside_is_trained_and_who_shows_nothing_is_refused(secured):
    assert not list(secured.given.glob("ca-key*")), "the CA's key stays where it was made"
    job = secured.submit("digits_fp16.yaml")
    secured.mantissa("wait", job)
    assert json.loads(secured.mantissa("get", job, "-o", "json"))["state"] == "SUCCEEDED"
    until(lambda: {entry["metric"]["job"] for entry in secured.prometheus("up == 1")} == {"mantissa-server", "mantissa-worker"},
          "Prometheus scrapes server and worker, in plain text as before")
    left, = secured.prometheus("mantissa_server_certificate_expiry_timestamp_seconds - time()")
    assert 364 * 86400 < float(left["value"][1]) <= 365 * 86400, left

    nothing = secured.asked("--tls-ca", secured.ca, "list")
    assert nothing.returncode == 4 and "--token-file" in nothing.stderr, nothing
    plain = secured.asked("list")
    assert plain.returncode == 6 and "--tls-ca" in plain.stderr, plain
    # Nor does its own network let anybody in who speaks plain text: the worker's container, without what it was given.
    inside = secured.inspected("worker")["Id"]
    bare = subprocess.run(["docker", "exec", "--env", "MANTISSA_TLS_CA=", "--env", "MANTISSA_TLS_CERTIFICATE=", "--env",
                           "MANTISSA_TLS_KEY=", inside, "timeout", "5", "mantissa-worker", "--worker-id", "stranger",
                           "--state-dir", "/tmp/stranger", "--metrics-listen", "127.0.0.1:0"], env=secured.daemon.environment,
                          capture_output=True, text=True, timeout=60)
    assert "connected" not in re.findall(r'"msg":"([^"]*)"', bare.stdout + bare.stderr), bare
    assert "can't be reached" in bare.stdout + bare.stderr, bare
