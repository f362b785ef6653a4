"""Two servers that share a PostgreSQL of their own."""
import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import stat
import subprocess

import grpc
import pytest

from conftest import Cluster, Program, until

POSTGRES = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))


class Postgres:
    """A PostgreSQL of its own in a folder, reached over a socket in it."""

    def __init__(self, folder):
        if not stat.S_ISCHR(os.stat("/dev/null").st_mode):
            pytest.fail("/dev/null is no device, and initdb fails on it: rm /dev/null && mknod -m 666 /dev/null c 1 3")
        self.folder = folder / "pg"
        self.folder.mkdir()
        self.run_as = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            user = pwd.getpwnam("postgres")
            self.run_as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            for parent in self.folder.parents:  # pytest keeps its folders to their owner
                if parent.owner() == "root" and str(parent).startswith("/tmp/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        programs = POSTGRES[-1].parent
        self.psql = programs / "psql"
        data = self.folder / "data"
        subprocess.run([*self.run_as, programs / "initdb", "-D", data, "-A", "trust", "-U", "mantissa", "-E", "UTF8",
                        "--locale=C"], check=True, stdout=subprocess.DEVNULL)
        self.log = open(folder / "postgres.log", "a")
        self.process = subprocess.Popen([*self.run_as, programs / "postgres", "-D", data, "-k", self.folder, "-h", ""],
                                        stdout=self.log, stderr=self.log)
        self.url = f"host={self.folder} user=mantissa dbname=postgres"
        ready = [programs / "pg_isready", "-q", "-h", self.folder]
        until(lambda: subprocess.run(ready).returncode == 0, "PostgreSQL", 30)

    def close(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


class Pair(Cluster):
    """Two servers; the cluster's address names both."""

    PROGRAM = "mantissa-server"
    CHANNEL_OPTIONS = [*Cluster.CHANNEL_OPTIONS,
                       ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}],'
                                               '"healthCheckConfig":{"serviceName":"mantissa.v1.JobService"}}')]
    servers, postgres = (), None

    def connection(self, number):
        """How a server reaches PostgreSQL."""
        return self.postgres.url

    def start_pair(self):
        self.postgres = Postgres(self.folder)
        self.servers, self.addresses = [], []
        for number in (0, 1):
            self.start_one(number)
        self.address = "ipv4:" + ",".join(self.addresses)

    def start_one(self, number, **variables):
        file = self.folder / f"address-{number}"
        file.unlink(missing_ok=True)
        listen = self.addresses[number] if number < len(self.addresses) else "127.0.0.1:0"
        server = Program(f"server-{number}", [self.PROGRAM, "--listen", listen, "--metrics-listen", "127.0.0.1:0",
                                              "--data-dir", self.folder / "server", "--postgres",
                                              self.connection(number), "--address-file", file, "--lease", self.LEASE,
                                              "--next-call", self.NEXT_CALL], self.folder, **variables)
        self.server = server
        address = until(lambda: file.read_text().split()[0] if file.exists() else None, "its address")
        if number < len(self.addresses):
            self.servers[number] = server
        else:
            self.servers.append(server)
            self.addresses.append(address)

    def channel_to(self, number):
        """To one of them, for its caller to close."""
        return grpc.insecure_channel(self.addresses[number])

    def answers(self, number, deadline=1.0):
        """The epoch of a server that serves."""
        from mantissa.v1 import admin_service_pb2_grpc
        with self.channel_to(number) as channel:
            try:
                stub = admin_service_pb2_grpc.AdminServiceStub(channel)
                return stub.GetServerInfo(self.pb("admin_service").GetServerInfoRequest(), timeout=deadline).epoch
            except grpc.RpcError as error:
                # CANCELLED: cut off as the address passes from the standby to the active server that it becomes.
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                                        grpc.StatusCode.CANCELLED), error
                return None

    def active(self):
        serving = [number for number in (0, 1) if self.answers(number)]
        assert len(serving) < 2, "one is active, not two"
        return serving[0] if serving else None

    def close(self):
        for server in self.servers:
            if server.running:
                os.kill(server.process.pid, signal.SIGCONT)
                server.kill()
        super().close()
        if self.postgres is not None:
            self.postgres.close()


@contextlib.contextmanager
def started(make, folder):
    """The pair that `make` makes in the folder, one of the two active; skips the test where there is no PostgreSQL."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql-15")
    it = make(folder)
    try:
        it.start_pair()
        until(lambda: it.active() is not None, "one of them is active", 30)
        yield it
    finally:
        it.close()
