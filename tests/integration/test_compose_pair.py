"""postgres-tls.yaml without containers: two servers on a PostgreSQL, prepared by the commands that the overlays name, run with
the settings that Compose makes of all the files, asked by the command and the health checks that stand in them. Another than
in a container are what the network and the mounts of Compose give there: ports, the name of PostgreSQL and folders.
tests/deploy/test_compose_files.py holds the files to each other, and tests/deploy/test_compose.py runs those that have one
server."""
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from conftest import BIN, ROOT, Program, until
from standby_pair import POSTGRES, Postgres

OVERLAYS = [ROOT / "docker-compose.yml", *(ROOT / f"deploy/compose/{name}.yaml" for name in ("postgres", "tls", "postgres-tls"))]
PORT = 50051  # of every server, in its container


def shown_in(overlay):
    """The commands at the head of a file, as a shell reads them."""
    head = (ROOT / f"deploy/compose/{overlay}.yaml").read_text().split("services:")[0]
    lines = [line.removeprefix("#   ") for line in head.splitlines() if line.startswith("#   ")]
    return "\n".join(lines).replace("\\\n", "").splitlines()


class ComposedServer:
    """One of the services, as a process of this machine."""

    def __init__(self, pair, service, settings, port):
        self.health = settings["healthcheck"]["test"]
        assert self.health[0] == "CMD" and "command" not in settings, "the program alone, by its settings"
        file = pair.folder / f"{service}.address"
        file.unlink(missing_ok=True)
        given = {key: str(value) for key, value in settings["environment"].items()}
        assert given["MANTISSA_LISTEN"] == f"0.0.0.0:{PORT}" and "@postgres/" in given["MANTISSA_POSTGRES"]
        mounted = {key: value.replace("/certificates/", f"{pair.given}/") for key, value in given.items()}
        self.environment = mounted | {
            "MANTISSA_LISTEN": f"0.0.0.0:{port}", "MANTISSA_METRICS_LISTEN": "0.0.0.0:0", "MANTISSA_ADDRESS_FILE": str(file),
            "MANTISSA_POSTGRES": given["MANTISSA_POSTGRES"].replace("@postgres/", "@/") + f"?host={pair.postgres.folder}",
            "MANTISSA_DATA_DIR": str(pair.folder / "server")}
        self.program = Program(service, ["mantissa-server"], pair.folder, **self.environment)
        address, *_ = until(lambda: file.exists() and file.read_text().split(), f"{service} listens")
        self.port = address.rsplit(":", 1)[1]

    def healthy(self):
        """By its own health check, within the container that it would be."""
        address = self.environment["MANTISSA_ADDRESS"].replace(str(PORT), self.port)
        within = self.environment | {"MANTISSA_ADDRESS": address, "PATH": f"{BIN}:/usr/bin:/bin"}
        return subprocess.run(self.health[1:], capture_output=True, env=within).returncode == 0


class ComposedPair:
    def __init__(self, folder):
        self.folder, self.given = folder, folder / "given"
        *steps, _, _ = shown_in("tls")  # `up`, and the use of it
        (folder / "deploy").symlink_to(ROOT / "deploy")
        prepare = "\n".join(steps).replace("/srv/mantissa/certificates", str(self.given))
        subprocess.run(["bash", "-euc", prepare], check=True, cwd=folder, env={"PATH": f"{BIN}:/usr/bin:/bin"})
        self.postgres, self.servers = Postgres(folder), {}
        subprocess.run([self.postgres.psql, "-q", "-c", "CREATE DATABASE mantissa", self.postgres.url], check=True)
        files = [word for file in OVERLAYS for word in ("-f", file)]
        merged = subprocess.run(["docker-compose", *files, "config"], check=True, capture_output=True, text=True, cwd=ROOT,
                                env={"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": "canary",
                                     "MANTISSA_CERTIFICATES": str(self.given)}).stdout
        self.services = yaml.safe_load(merged)["services"]

    def start(self, service):
        """At the port that it had before, if it was there."""
        port = self.servers[service].port if service in self.servers else 0
        self.servers[service] = ComposedServer(self, service, self.services[service], port)
        return self.servers[service]

    def mantissa(self, *arguments):
        """By the command that postgres-tls.yaml shows, with other arguments."""
        command = shown_in("postgres-tls")[-1]
        for published, service in (("50051", "server"), ("50052", "server-b")):
            command = command.replace(f"127.0.0.1:{published}", f"127.0.0.1:{self.servers[service].port}")
        program, *words, asked = shlex.split(command)
        assert asked == "list" and "--tls-server-name" in words
        return subprocess.run([BIN / program, *words, *arguments], capture_output=True, text=True, cwd=self.folder, env={})

    def asks(self, server, *credentials):
        """What one of them answers to who shows these."""
        return subprocess.run([BIN / "mantissa", "--address", f"localhost:{server.port}", *credentials, "list"],
                              capture_output=True, text=True, cwd=self.folder, env={})

    def close(self):
        for server in self.servers.values():
            server.program.kill()
        self.postgres.close()


@pytest.fixture
def pair(tmp_path):
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql-15")
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed: deploy/setup.sh --tests")
    if os.geteuid() != 0:
        pytest.skip("the overlay's commands give files to the containers' user, which wants root")
    it = ComposedPair(tmp_path)
    try:
        yield it
    finally:
        it.close()


def test_the_second_server_takes_over_with_what_the_first_had_and_asks_who_calls(pair):
    first = pair.start("server")
    until(first.healthy, "the first serves")
    second = pair.start("server-b")
    until(second.healthy, "who stands by is healthy, too")
    until(lambda: pair.mantissa("list").returncode == 0, "the first serves the token's owner")
    submitted = pair.mantissa("submit", ROOT / "client/examples/digits_fp16.yaml")
    assert submitted.returncode == 0, submitted
    job = re.search(r"\b[0-9a-z]{26}\b", submitted.stdout)[0]

    first.program.kill()
    found = until(lambda: (done := pair.mantissa("get", job)).returncode == 0 and done, "the second serves", 30)
    assert job in found.stdout
    assert second.healthy() and second.program.running
    nobody = pair.asks(second, "--tls-ca", "certs/ca.pem")
    assert nobody.returncode not in (0, 6) and "show a token" in nobody.stderr, nobody
    plain = pair.asks(second)
    assert plain.returncode == 6 and "--tls-ca" in plain.stderr, plain

    # Whom Docker starts again is the next to stand by.
    again = pair.start("server")
    until(again.healthy, "it stands by")
    second.program.kill()
    until(lambda: pair.mantissa("get", job).returncode == 0, "and takes over in its turn", 30)
