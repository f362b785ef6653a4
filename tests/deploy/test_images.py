"""The image for GPUs, made as for a release, and run where there is none: it says so and trains on the CPU."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import docker_daemon  # noqa: E402
from docker_daemon import until  # noqa: E402

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release"))
DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", ROOT / "build/deps"))
VERSION = re.search(r"^project\(mantissa VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]
HELD_IN = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--tmpfs", "/tmp")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    if not (DEPS / "libtorch/cuda.txt").exists():
        pytest.exit("SKIPPED: CUDA's libraries are not here; run deploy/setup.sh --tests --cuda", returncode=77)
    if not (BUILD / "bin/libmantissa_cuda.so").exists():
        pytest.exit("SKIPPED: the CUDA plug-in is not built, which needs nvcc 13.0", returncode=77)
    with docker_daemon.with_base(tmp_path_factory.mktemp("docker"), DEPS / "debian-bookworm-slim.tar") as started:
        yield started


@pytest.fixture(scope="module")
def images(daemon, tmp_path_factory):
    trees = tmp_path_factory.mktemp("images")
    began = time.monotonic()
    docker_daemon.run(ROOT / "deploy/docker/build.sh", "--build-dir", BUILD, "--tree", trees, "server", "worker-cuda",
                      env=daemon.environment)
    took = time.monotonic() - began
    for tree in ("server", "worker-cuda"):
        shutil.rmtree(trees / tree)  # gigabytes that pytest would keep
    sizes = {name: json.loads(daemon.docker("inspect", f"mantissa/{name}:{VERSION}"))[0]["Size"] for name in ("server", "worker-cuda")}
    print(f"made in {took:.0f} s: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))
    return trees


@pytest.fixture
def running(daemon, images):
    """Names of a server's and a worker's container in a network of theirs."""
    daemon.docker("network", "create", "training")
    daemon.docker("run", "--detach", "--name", "server", "--network", "training", *HELD_IN, "--env", "MANTISSA_LISTEN=0.0.0.0:50051",
                  "--env", "MANTISSA_INSECURE_ALLOW_REMOTE=true", f"mantissa/server:{VERSION}")
    daemon.docker("run", "--detach", "--name", "worker", "--network", "training", *HELD_IN,
                  "--env", "MANTISSA_SERVER=server:50051", f"mantissa/worker-cuda:{VERSION}")
    yield ("server", "worker")
    print(said(daemon, "worker")[-4000:])
    daemon.docker("rm", "--force", "--volumes", "server", "worker")
    daemon.docker("network", "rm", "training")


def said(daemon, container):
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, env=daemon.environment)
    return done.stdout + done.stderr


def mantissa(daemon, *arguments):
    return daemon.docker("exec", "server", "mantissa", *arguments)


def test_where_there_is_no_gpu_it_says_so_and_trains_on_the_cpu(daemon, running):
    until(lambda: "no NVIDIA driver is here, so no GPU is offered" in said(daemon, "worker"), "the worker says so")
    until(lambda: '"connected"' in said(daemon, "worker"), "the worker is connected")
    for container in running:
        until(lambda c=container: json.loads(daemon.docker("inspect", c))[0]["State"]["Health"]["Status"] == "healthy",
              f"{container} is healthy")
    daemon.docker("cp", ROOT / "client/examples/digits_fp16.yaml", "server:/var/lib/mantissa/job.yaml")
    job = mantissa(daemon, "submit", "/var/lib/mantissa/job.yaml", "-o", "name").strip()
    mantissa(daemon, "wait", job)
    assert json.loads(mantissa(daemon, "get", job, "-o", "json"))["state"] == "SUCCEEDED"
    worker, = json.loads(mantissa(daemon, "workers", "-o", "json"))["workers"]
    assert {device["kind"] for device in worker["devices"]} == {"CPU"}


def test_cuda_and_the_plug_in_load_with_all_that_they_need(daemon, images):
    """In the order in which a trainer loads them, and as far as can be seen without a driver."""
    private = "/usr/local/lib/mantissa"
    said = daemon.docker("run", "--rm", "--entrypoint", "env", f"mantissa/worker-cuda:{VERSION}", "LD_BIND_NOW=1",
                         f"LD_PRELOAD={private}/libtorch/torch/lib/libtorch_cuda.so {private}/libmantissa_cuda.so",
                         "sh", "-c", "cat /proc/self/maps")
    assert "libmantissa_cuda.so" in said and "libcudart.so.13" in said and "libcublas.so.13" in said, said


def test_it_is_what_the_gpu_overlay_asks_for_and_lists_what_is_in_it(daemon, images):
    config = json.loads(daemon.docker("inspect", f"mantissa/worker-cuda:{VERSION}"))[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == "mantissa-worker-cuda"
    assert config["User"] == "10001:10001" and config["Entrypoint"] == ["mantissa-worker"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in config["Env"]
    packages = {package["name"].replace("_", "-") for package in json.loads((images / "worker-cuda.spdx.json").read_text())["packages"]}
    assert {"torch", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= packages
