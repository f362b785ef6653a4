"""What cmake --install makes works where it lies, wherever that is: programs, units, pages, and the list of its contents."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release"))
CLEAN = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=CLEAN, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def install(prefix, *components):
    for component in components:
        run("cmake", "--install", BUILD, "--prefix", prefix, "--component", component)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Installed, and then moved: nothing in it may know where it was."""
    folder = tmp_path_factory.mktemp("install")
    run("cmake", "--install", BUILD, "--prefix", folder / "there")
    (folder / "there").rename(folder / "here")
    return folder / "here"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All of it, LibTorch laid beside: half a gigabyte, which does not stay."""
    folder = tmp_path_factory.mktemp("whole")
    install(folder, "server", "worker", "client", "libtorch")
    yield folder
    shutil.rmtree(folder)


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def test_its_programs_train_a_job(tree, tmp_path):
    processes = []

    def start(program, *arguments):
        log = open(tmp_path / f"{program}.log", "w")
        processes.append(subprocess.Popen([tree / "bin" / program, *map(str, arguments)], stdout=log, stderr=log, env=CLEAN))

    try:
        start("mantissa-server", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir",
              tmp_path / "server", "--address-file", tmp_path / "address")
        until((tmp_path / "address").exists, "the server says its address")
        address = (tmp_path / "address").read_text().split()[0]
        assert run(tree / "bin/mantissa", "--address", address, "health") == "SERVING\n"
        start("mantissa-worker", "--server", address, "--metrics-listen", "127.0.0.1:0", "--state-dir", tmp_path / "worker",
              "--root", f"data={tree / 'share/mantissa/examples'}")
        watched = run(tree / "bin/mantissa", "--address", address, "submit", "--watch",
                      tree / "share/mantissa/examples/digits_fp16.yaml", timeout=240)
        assert "SUCCEEDED" in watched
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def test_each_machine_gets_its_part_alone(tmp_path):
    install(tmp_path / "server", "server")
    assert sorted(path.name for path in (tmp_path / "server/bin").iterdir()) == ["mantissa-server"]
    assert not (tmp_path / "server/lib/mantissa").exists(), "a server has no use for LibTorch"
    install(tmp_path / "client", "client")
    assert sorted(path.name for path in (tmp_path / "client/bin").iterdir()) == ["mantissa"]
    install(tmp_path / "worker", "worker")
    assert sorted(path.name for path in (tmp_path / "worker/bin").iterdir()) == ["mantissa-trainer", "mantissa-worker"]


def test_libtorch_is_linked_to_or_laid_beside(tree, whole):
    beside = tree / "lib/mantissa/libtorch"
    assert beside.is_symlink() and (beside / "torch/lib/libtorch_cpu.so").exists()
    beside = whole / "lib/mantissa/libtorch"
    assert beside.is_dir() and not beside.is_symlink()
    loaded = run("ldd", whole / "lib/mantissa/mantissa-trainer")
    theirs = re.findall(r"^\s*(?:libtorch|libc10|libcudart|libcupti|libgomp)\S* => (\S+)", loaded, re.MULTILINE)
    assert len(theirs) >= 4 and all(pathlib.Path(path).resolve().is_relative_to(whole.resolve()) for path in theirs), loaded
    assert list(beside.glob("torch-2.11.0.dist-info/**/LICENSE")), "a licence travels with what it is for"
    assert run(whole / "bin/mantissa-trainer", "--version").startswith("mantissa-trainer")


def settings_of(program):
    return set(re.findall(r"\[(MANTISSA_\w+)[];]", run(BUILD / "bin" / program, "--help")))


@pytest.mark.parametrize("service", ["mantissa-server", "mantissa-worker"])
def test_units_start_what_was_installed_with_settings_that_exist(service, tmp_path):
    install(tmp_path, service.removeprefix("mantissa-"))
    unit = tmp_path / f"lib/systemd/system/{service}.service"
    text = unit.read_text()
    assert f"ExecStart={tmp_path}/bin/{service}\n" in text and "@" not in re.sub(r"[=~ ]@[a-z-]+", "", text)
    named = set(re.findall(r"(MANTISSA_\w+)=", text))
    assert named and named <= settings_of(service)
    user, = re.findall(r"^User=(.*)$", text, re.MULTILINE)
    assert f"u {user} " in (tmp_path / f"lib/sysusers.d/{service}.conf").read_text()
    if shutil.which("systemd-analyze") is None:
        pytest.fail("systemd-analyze is not installed: deploy/setup.sh --tests installs it")
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert verified.returncode == 0 and verified.stderr == "", verified.stderr
    # Of 10; what is left is the network, and for a worker its devices.
    most = {"mantissa-server": 1.5, "mantissa-worker": 2.5}[service]
    judged = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(most * 10)}", unit)
    assert "Overall exposure level" in judged
    # test_systemd.py runs the units, at night. This is what no look at a unit tells: with it systemd refuses openat2.
    assert service != "mantissa-worker" or "\nRestrictSUIDSGID=" not in text


def test_pages_are_made_of_the_programs_help(tree):
    for page, words in [("man1/mantissa.1", (r"describe\-precision", "health")),
                        ("man8/mantissa-server.8", (r"\-\-data\-dir", "backup")),
                        ("man8/mantissa-worker.8", (r"\-\-state\-dir", "health"))]:
        text = (tree / "share/man" / page).read_text()
        assert all(word in text for word in words), page


def test_what_people_need_beside_the_programs_is_there(tree):
    for path in ("share/mantissa/examples/digits/train-images.idx", "share/mantissa/grafana/dashboards/job.json",
                 "share/mantissa/grafana/provisioning/datasources/mantissa.yml",
                 "share/mantissa/prometheus/rules/mantissa.yml", "share/mantissa/runbooks/server_down.md",
                 "share/doc/mantissa-server/README.md", "share/doc/mantissa-worker/LICENSE"):
        assert (tree / path).is_file(), path


def test_the_list_of_contents_names_programs_libraries_and_wheels(whole):
    document = json.loads(run(ROOT / "deploy/sbom.py", "tree", whole))
    assert document["spdxVersion"] == "SPDX-2.3"
    packages = {package["name"]: package for package in document["packages"]}
    identifiers = [package["SPDXID"] for package in document["packages"]]
    assert len(set(identifiers)) == len(identifiers)
    for relation in document["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= {*identifiers, "SPDXRef-DOCUMENT"}
    for program in ("mantissa-server", "mantissa-worker", "mantissa-trainer", "mantissa"):
        found = run("find", whole, "-type", "f", "-name", program).split()
        checksum, = packages[program]["checksums"]
        assert run("sha256sum", found[0]).split()[0] == checksum["checksumValue"], program
    for library in ("libgrpc++1.51", "libsqlite3-0", "libcairo2", "nlohmann-json3-dev", "libcli11-dev"):
        assert run("dpkg-query", "--show", "--showformat", "${Version}", library) == packages[library]["versionInfo"]
    assert packages["torch"]["versionInfo"] == "2.11.0"
    assert packages["nvidia_cuda_runtime"]["externalRefs"][0]["referenceLocator"].startswith("pkg:pypi/nvidia-cuda-runtime@13.")
