"""The Debian packages' units under systemd itself: a container whose first process it is. A system call that a unit refuses
ends its program here, so that none is refused unseen."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import docker_daemon  # noqa: E402
from docker_daemon import until  # noqa: E402

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release"))
DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", ROOT / "build/deps"))
UNITS = ("mantissa-server", "mantissa-worker")
EXAMPLES = "/usr/share/mantissa/examples"
MACHINE = """FROM debian:bookworm-slim
COPY *.deb /packages/
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv dbus /packages/*.deb
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
"""


class Machine:
    """A container with the packages installed. What is asked of it fails loudly."""

    def __init__(self, daemon, libtorch):
        self.daemon = daemon
        # All that systemd needs, which is less than --privileged: a machine that lacks CAP_SYS_RESOURCE itself can't give it.
        self.id = daemon.docker(
            "run", "--detach", "--tty", "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined",
            "--security-opt", "apparmor=unconfined", "--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec",
            "--volume", f"{libtorch}:/usr/lib/mantissa/libtorch:ro", "machine").strip()

    def run(self, *command):
        return self.daemon.docker("exec", self.id, *command)

    def asked(self, *command):
        """What it said, and never mind how it ended."""
        return subprocess.run(["docker", "exec", self.id, *command], capture_output=True, text=True,
                              env=self.daemon.environment).stdout

    def write(self, path, text):
        self.run("sh", "-c", f"mkdir -p $(dirname {path}) && printf '%s' '{text}' > {path}")

    def shown(self, unit, what):
        return self.run("systemctl", "show", "--property", what, "--value", unit).strip()

    def journal(self):
        return self.asked("journalctl", "--no-pager", "--boot", "--output", "short")

    def job(self, job):
        return json.loads(self.run("mantissa", "get", job, "-o", "json"))

    def submit(self, *overrides):
        """The id of the job."""
        sets = [word for override in overrides for word in ("--set", override)]
        return self.run("mantissa", "submit", f"{EXAMPLES}/digits_fp16.yaml", *sets, "-o", "name").strip()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with docker_daemon.with_base(tmp_path_factory.mktemp("docker"), DEPS / "debian-bookworm-slim.tar") as started:
        yield started


@pytest.fixture(scope="module")
def machine(daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    docker_daemon.run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder, cwd=BUILD)
    shutil.rmtree(folder / "_CPack_Packages", ignore_errors=True)
    (folder / "Dockerfile").write_text(MACHINE)
    daemon.docker("build", "--quiet", "--tag", "machine", folder)
    installed = tmp_path_factory.mktemp("libtorch")
    docker_daemon.run("cmake", "--install", BUILD, "--prefix", installed, "--component", "libtorch")
    made = Machine(daemon, installed / "lib/mantissa/libtorch")
    try:
        until(lambda: made.asked("systemctl", "is-system-running").strip() in ("running", "degraded"), "systemd is up")
        for unit in UNITS:
            made.write(f"/etc/systemd/system/{unit}.service.d/refused.conf", "[Service]\nSystemCallErrorNumber=kill\n")
        made.write("/etc/default/mantissa-worker",
                   f"MANTISSA_ROOT=data={EXAMPLES},checkpoints=/var/lib/mantissa-worker/checkpoints\n")
        made.run("install", "-d", "-o", "mantissa-worker", "-g", "mantissa-worker", "/var/lib/mantissa-worker/checkpoints")
        made.run("systemctl", "daemon-reload")
        made.run("systemctl", "enable", "--now", *UNITS)
        yield made
    finally:
        print(made.journal()[-12000:])
        daemon.docker("rm", "--force", "--volumes", made.id)
        shutil.rmtree(installed)


def test_both_come_up_and_a_job_is_trained(machine):
    until(lambda: machine.asked("mantissa", "health").strip() == "SERVING", "the server serves")
    until(lambda: machine.asked("mantissa-worker", "health").strip() == "connected", "the worker is connected")
    job = machine.submit()
    machine.run("mantissa", "wait", job)
    assert machine.job(job)["state"] == "SUCCEEDED"


def test_a_worker_that_is_stopped_saves_its_job_which_goes_on_when_it_is_started(machine):
    job = machine.submit("training.epochs=1000000", "training.checkpoint.every_steps=1000000")

    def iteration():
        return int(machine.job(job).get("progress", {}).get("iteration", 0))

    until(lambda: iteration() > 100, "the job trains")
    machine.run("systemctl", "stop", "mantissa-worker")
    assert machine.shown("mantissa-worker", "Result") == "success", "not killed for its time"
    stopped = machine.job(job)
    assert stopped["state"] == "QUEUED", stopped
    saved = json.loads(machine.run("mantissa", "checkpoints", job, "-o", "json"))["checkpoints"]
    assert saved, "none was due for long: this is of the stop"
    at = iteration()
    machine.run("systemctl", "start", "mantissa-worker")
    until(lambda: machine.job(job)["state"] == "RUNNING" and iteration() > at, "the job goes on")
    machine.run("mantissa", "cancel", job)


def test_nothing_was_refused_on_the_way(machine):
    for unit in UNITS:
        assert machine.shown(unit, "ActiveState") == "active", unit
        assert machine.shown(unit, "NRestarts") == "0", unit
        assert int(machine.shown(unit, "MainPID")) > 1, unit
    journal = machine.journal()
    assert "mantissa-server[" in journal and "mantissa-worker[" in journal, "it was read"
    bad = [line for line in journal.splitlines() if "mantissa" in line and re.search(
        r"status=31/SYS|SIGSYS|ermission denied|not permitted|ead-only file system|code=(killed|dumped)", line)]
    assert not bad, "\n".join(bad)


def test_the_programs_are_shut_in_as_the_units_say(machine):
    for unit in UNITS:
        pid = machine.shown(unit, "MainPID")
        status = machine.run("cat", f"/proc/{pid}/status")
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE) and re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), status
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE), status
        assert machine.run("stat", "--format", "%U", f"/proc/{pid}").strip() == unit
    # Of what the server sees of its machine only its own data can be written to.
    pid = machine.shown("mantissa-server", "MainPID")
    mounts = machine.run("cat", f"/proc/{pid}/mounts").splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert "rw" in options["/var/lib/mantissa-server"]
