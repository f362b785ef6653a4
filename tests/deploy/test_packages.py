"""The Debian packages, installed, used and removed in a Debian of their own: a folder that debootstrap filled."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import docker_daemon  # noqa: E402

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release"))
DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", ROOT / "build/deps"))
PACKAGES = ("mantissa-server", "mantissa-worker", "mantissa")


class Debian:
    """A root folder to which only this test changes anything."""

    def __init__(self, folder):
        self.folder = folder
        docker_daemon.run("tar", "-C", folder, "-xf", docker_daemon.base_archive(DEPS / "debian-bookworm-slim.tar"))
        # Nothing of a package is started in a folder.
        (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (folder / "usr/sbin/policy-rc.d").chmod(0o755)
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        docker_daemon.run("mount", "-t", "proc", "proc", folder / "proc")

    def run(self, *command, code=0):
        done = subprocess.run(["chroot", self.folder, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                               "DEBIAN_FRONTEND=noninteractive", *command], capture_output=True, text=True)
        assert done.returncode == code, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def close(self):
        docker_daemon.run("umount", self.folder / "proc")


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    if os.environ.get("CI") != "1":
        pytest.exit("SKIPPED: it mounts and installs as root in a folder, which only CI=1 allows", returncode=77)
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.exit("SKIPPED: it wants root and debootstrap; run deploy/setup.sh --tests", returncode=77)
    made = Debian(tmp_path_factory.mktemp("debian"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Files by name of the package."""
    folder = tmp_path_factory.mktemp("packages")
    docker_daemon.run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder, cwd=BUILD)
    found = {docker_daemon.run("dpkg-deb", "--field", path, "Package").strip(): path for path in folder.glob("*.deb")}
    assert sorted(found) == sorted(PACKAGES)
    return found


def files_of(path):
    return [line.split()[5].removeprefix(".") for line in docker_daemon.run("dpkg-deb", "--contents", path).splitlines()]


def test_packages_bring_files_below_usr_and_no_place_of_the_build(packages):
    for name, path in packages.items():
        for file in files_of(path):
            assert file == "/" or file.startswith("/usr/") and not file.startswith("/usr/local"), f"{name}: {file}"
        assert not any("libtorch" in file for file in files_of(path)), "LibTorch is a package or a folder of its own"


def test_they_install_run_and_leave_nothing_but_data(debian, packages):
    before = set(debian.run("find", "/usr", "/etc", "/var/lib", "-name", "*mantissa*").splitlines())
    assert not before
    inside = []
    for path in packages.values():
        shutil.copy(path, debian.folder / "tmp")
        inside.append(f"/tmp/{path.name}")
    debian.run("apt-get", "update")
    debian.run("apt-get", "install", "-y", "--no-install-recommends", *inside)
    for program in ("mantissa-server", "mantissa-worker"):
        assert "0.1.0" in debian.run(program, "--version")
        assert f"ExecStart=/usr/bin/{program}\n" in (debian.folder / f"usr/lib/systemd/system/{program}.service").read_text()
        assert debian.run("getent", "passwd", program).split(":")[5] == f"/var/lib/{program}"
    assert "0.1.0" in debian.run("mantissa", "version")
    # What a trainer lacks is said by name, until LibTorch is laid where it looks.
    assert "libtorch_cpu.so => not found" in debian.run("ldd", "/usr/bin/mantissa-trainer")

    data = debian.folder / "var/lib/mantissa-server"
    data.mkdir(parents=True)
    (data / "mantissa.db").write_text("of somebody who changed their mind")
    debian.run("apt-get", "purge", "-y", *PACKAGES)
    left = set(debian.run("find", "/usr", "/etc", "/var/lib", "-name", "*mantissa*").splitlines())
    assert left == {"/var/lib/mantissa-server", "/var/lib/mantissa-server/mantissa.db"}
