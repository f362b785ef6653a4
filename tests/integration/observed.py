"""A server and a worker that a Prometheus of the test's own scrapes."""
import os
import pathlib
import re
import urllib.request

import pytest

from conftest import BIN, Cluster, Program, closing, until
from live_prometheus import Prometheus

SLOTS = 4
FOR_EVER = 50_000_000
# Beside the programs: a libnvidia-ml.so.1 with two GPUs (tests/unit/agent_devices/fake_nvml.cc).
FAKE_DRIVER = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", BIN.parent)) / "fake-nvml"


def metrics_of(worker):
    """The address, once the worker has said it."""
    return "127.0.0.1:" + until(
        lambda: re.search(r'"metrics_port":"?(\d+)', worker.log_text()), "the worker says its port").group(1)


class Observed(Cluster):
    """A server and a worker that Prometheus scrapes, from before the first job on."""

    def start_worker(self, name="ws-1", fake_driver=False):
        """With `fake_driver` it finds two GPUs to look at, and none to use."""
        variables = {}
        if fake_driver:
            assert (FAKE_DRIVER / "libnvidia-ml.so.1").exists(), f"build fake_nvml: {FAKE_DRIVER}"
            variables["LD_LIBRARY_PATH"] = f"{FAKE_DRIVER}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
        worker = Program(name, ["mantissa-worker", "--server", self.address, "--metrics-listen", "127.0.0.1:0",
                                "--state-dir", self.folder / name, "--worker-id", name, "--cpu-slots", SLOTS,
                                "--threads", 1, "--root", f"data={self.data}", "--root",
                                f"checkpoints={self.checkpoints}"], self.folder, **variables)
        self.workers[name] = worker
        self.worker_metrics = metrics_of(worker)
        until(lambda: any(w.connected for w in self.admin().ListWorkers(
            self.pb("admin_service").ListWorkersRequest()).workers), "the worker is connected")

    def start_prometheus(self):
        self.prometheus = Prometheus(self.folder, {"mantissa-server": [self.metrics],
                                                   "mantissa-worker": [self.worker_metrics]})

    def fp16_that_overflows_at_first(self):
        spec = self.digits(iterations=FOR_EVER, precision="FP16", checkpoint_every=2_000)
        spec.name = "overflows"
        spec.training.precision.loss_scale.init = 2.0 ** 24
        spec.training.precision.loss_scale.growth_interval = 1_000
        return self.submit(spec)

    def bf16_that_runs(self):
        spec = self.digits(iterations=FOR_EVER, precision="BF16")
        spec.name = "runs"
        return self.submit(spec)

    def close(self):
        if hasattr(self, "prometheus"):
            self.prometheus.close()
        super().close()


def _observed(folder, fake_driver):
    with closing(Observed(folder)) as it:
        it.start_server()
        it.start_worker(fake_driver=fake_driver)
        it.start_prometheus()
        yield it


@pytest.fixture
def observed(tmp_path):
    yield from _observed(tmp_path, fake_driver=False)


@pytest.fixture
def observed_with_a_driver(tmp_path):
    yield from _observed(tmp_path, fake_driver=True)


def text_of(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def series_in(text):
    return sum(not line.startswith("#") for line in text.splitlines())


def value_in(text, name, labels=""):
    """Of one series, or of all with these labels together."""
    found = re.findall(rf"^{name}(?:{{[^}}]*{re.escape(labels)}[^}}]*}})? (\S+)", text, re.MULTILINE)
    return sum(map(float, found)) if found else None
