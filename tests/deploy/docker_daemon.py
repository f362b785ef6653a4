"""A Docker daemon of our own, which leaves the machine as it was: its socket, images and containers lie in one folder."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

DEBIAN_SOURCES = pathlib.Path("/etc/apt/sources.list.d/debian.sources")
CERTIFICATES = pathlib.Path("/usr/local/share/ca-certificates")
NEEDED = ("dockerd", "docker", "containerd", "runc", "iptables", "ip", "debootstrap", "docker-compose")
# What dockerd writes for its bridges.
ITS_RULES = re.compile(r"DOCKER|docker0|\bbr-[0-9a-f]{12}")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def until(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def reason_to_skip():
    """Why no daemon may be started here; None when one may."""
    if os.environ.get("CI") != "1":
        return "it changes this machine's network while it runs, which only CI=1 allows"
    if os.geteuid() != 0:
        return "dockerd wants root"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not here; run deploy/setup.sh --tests"
    if Daemon.others():
        return "another dockerd uses this machine's bridge and iptables"
    if pathlib.Path("/sys/class/net/docker0").exists():
        return "another dockerd has left its bridge; once nothing needs it, take it away: ip link del docker0"
    return None


class CannotStart(Exception):
    """This machine lets no dockerd run: what it wrote says why."""


class Daemon:
    """Started by the constructor (CannotStart). Images and containers are gone after close()."""

    def __init__(self, folder):
        self.folder = folder
        self.forwards = pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text()
        self.policy = re.search(r"^-P FORWARD (\w+)$", run("iptables", "-S"), re.MULTILINE)[1]
        socket = f"unix://{folder}/docker.sock"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")} | {
            "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(folder / "config")}
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "docker.pid",
             "-H", socket, "--log-level", "warn"], stdout=self.log, stderr=self.log, start_new_session=True)
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "info"], env=self.environment, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()  # no container runs yet
                self.process.wait()
                said = (folder / "log").read_text()  # close() takes it away
                self.close()
                raise CannotStart(f"dockerd did not start:\n{said[-4000:]}")
            time.sleep(0.05)

    @staticmethod
    def others():
        """Numbers of the daemons that run now."""
        names = [(path.parent.name, path) for path in pathlib.Path("/proc").glob("[0-9]*/comm")]
        found = []
        for number, path in names:
            try:
                if path.read_text().strip() == "dockerd":
                    found.append(number)
            except OSError:
                pass  # it has just ended
        return found

    def docker(self, *arguments):
        return run("docker", *arguments, env=self.environment)

    def close(self):
        if self.process.poll() is None:
            for container in self.docker("ps", "--all", "--quiet").split():
                self.docker("rm", "--force", container)
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)
        self.log.close()
        for mount in sorted(self._mounts(), reverse=True):
            subprocess.run(["umount", "--lazy", mount])
        self._clear_network()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mounts(self):
        mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
        return [line.split()[1] for line in mounts if line.split()[1].startswith(f"{self.folder}/")]

    def _clear_network(self):
        """Takes away what dockerd leaves behind, and nothing else."""
        run("iptables", "-P", "FORWARD", self.policy)
        for table in ("filter", "nat"):
            rules = run("iptables", "-t", table, "-S").splitlines()
            for rule in rules:
                if rule.startswith("-A ") and ITS_RULES.search(rule):
                    subprocess.run(["iptables", "-t", table, "-D", *rule.split()[1:]], capture_output=True)
            for what in ("-F", "-X"):
                for rule in rules:
                    if rule.startswith("-N DOCKER"):
                        subprocess.run(["iptables", "-t", table, what, rule.split()[1]], capture_output=True)
            # Of a bridge whose rules name only its addresses.
            for rule in run("iptables", "-t", table, "-S").splitlines():
                if re.match(r"-A POSTROUTING -s 172\.(1[7-9]|2\d|3[01])\.", rule):
                    subprocess.run(["iptables", "-t", table, "-D", *rule.split()[1:]], capture_output=True)
        for bridge in pathlib.Path("/sys/class/net").iterdir():
            if re.fullmatch(r"docker0|br-[0-9a-f]{12}", bridge.name):
                run("ip", "link", "del", bridge.name)
        pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text(self.forwards)
        left = [rule for table in ("filter", "nat") for rule in run("iptables", "-t", table, "-S").splitlines()
                if ITS_RULES.search(rule)]
        assert not left, f"rules of Docker are left: {left}"


def base_archive(cache):
    """debian:bookworm-slim's root folder, made of Debian's packages, as a tar file that is kept between runs: `cache`."""
    if not cache.exists():
        root = cache.with_name(f"{cache.name}.{os.getpid()}")
        shutil.rmtree(root, ignore_errors=True)
        mirror = re.search(r"^URIs: (\S+)", DEBIAN_SOURCES.read_text(), re.MULTILINE)[1]
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", root, mirror)
        shutil.copy(DEBIAN_SOURCES, root / "etc/apt/sources.list.d/")
        (root / "etc/apt/sources.list").write_text("")
        # What this machine trusts beyond Debian's own, a gateway of its network for instance.
        for certificate in CERTIFICATES.glob("*.crt"):
            shutil.copy(certificate, root / CERTIFICATES.relative_to("/"))
        run("chroot", root, "update-ca-certificates")
        for left_over in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/info",
                          "usr/share/locale"):
            shutil.rmtree(root / left_over, ignore_errors=True)
            (root / left_over).mkdir()
        whole = cache.with_name(f"{root.name}.tar")
        run("tar", "-C", root, "-cf", whole, ".")
        shutil.rmtree(root)
        whole.rename(cache)
    return cache


def base_image(daemon, cache):
    daemon.docker("import", "-c", 'CMD ["bash"]', "-c",
                  "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", base_archive(cache), "debian:bookworm-slim")


@contextlib.contextmanager
def with_base(folder, cache):
    """A Daemon that has debian:bookworm-slim; where none may be started the whole run is skipped, and says why."""
    # For ctest, which would call a test that pytest skipped a success.
    why_not = reason_to_skip()
    if why_not:
        pytest.exit(f"SKIPPED: {why_not}", returncode=77)
    try:
        started = Daemon(folder)
    except CannotStart as why_not:
        pytest.exit(f"SKIPPED: {why_not}", returncode=77)
    try:
        base_image(started, cache)
        yield started
    finally:
        started.close()


def prometheus_image(daemon, folder, name):
    """Debian's Prometheus under the name of the one that users get: same paths, same command line."""
    for program in ("prometheus", "promtool"):
        shutil.copy(pathlib.Path(shutil.which(program)).resolve(), folder / program)
    (folder / "Dockerfile").write_text(
        "FROM debian:bookworm-slim\n"
        "COPY prometheus promtool /bin/\n"
        "RUN install -d -o nobody -g nogroup /prometheus\n"
        "USER nobody\n"
        'ENTRYPOINT ["/bin/prometheus"]\n')
    daemon.docker("build", "--quiet", "--tag", name, folder)
