"""What a finished job leaves, and what shows while it runs."""
import json
import shutil
import subprocess
import urllib.request

import numpy
import pytest
import safetensors.numpy
from conftest import EXAMPLES, until


def metrics_text(cluster):
    with urllib.request.urlopen(f"http://{cluster.metrics}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_the_digits_example_reaches_its_accuracy_and_its_model_opens_elsewhere(cluster, tmp_path):
    cluster.start_worker()
    submitted = cluster.cli("submit", EXAMPLES / "digits_fp16.yaml", "--watch")
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(cluster.cli("get", "digits-fp16", "-o", "json").stdout)
    assert job["state"] == "SUCCEEDED"
    assert job["result"]["eval_accuracy"] >= 0.96
    file = tmp_path / "model.safetensors"
    downloaded = cluster.cli("download", job["id"], "-O", file)
    assert downloaded.returncode == 0, downloaded.stderr
    tensors = safetensors.numpy.load_file(file)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "layers.0.weight": (256, 64), "layers.0.bias": (256,), "head.weight": (10, 256), "head.bias": (10,)}
    assert all(numpy.isfinite(tensor).all() for tensor in tensors.values())


def test_metrics_show_a_job_while_it_runs_and_not_after(cluster):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=50_000_000))
    cluster.wait_iteration(job.id, 100)
    wanted = ("mantissa_job_loss", "mantissa_job_loss_scale", "mantissa_job_overflows_total")
    until(lambda: all(f'{name}{{' in metrics_text(cluster) and job.id in metrics_text(cluster) for name in wanted),
          "the job's series")
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.fail("promtool is not installed: deploy/setup.sh --tests installs it")
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics_text(cluster), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    cluster.jobs().CancelJob(cluster.pb("job_service").CancelJobRequest(job_id=job.id))
    cluster.wait_state(job.id, "CANCELLED")
    until(lambda: job.id not in metrics_text(cluster), "the job's series are gone")


def test_a_planted_nan_survives_json_output(cluster):
    """The guard says what it was, and JSON still parses."""
    cluster.start_worker()
    job = cluster.submit(cluster.diverging())
    ended = cluster.wait_state(job.id, "FAILED", "SUCCEEDED")
    assert ended.state == cluster.pb("job").Job.FAILED and ended.reason == cluster.pb("job").Reason.NUMERIC_FAILURE
    shown = json.loads(cluster.cli("get", job.id, "-o", "json").stdout)
    assert shown["progress"]["loss"] == "NaN", shown["progress"]


def test_the_text_example_learns(cluster):
    prepared = subprocess.run(["bash", str(EXAMPLES / "prepare_text.sh"), str(cluster.data)], capture_output=True, text=True)
    assert prepared.returncode == 0, prepared.stderr
    cluster.start_worker()
    # Half of the example's length, so that it is minutes on a slow machine too.
    submitted = cluster.cli("submit", EXAMPLES / "gpt_text_bf16.yaml", "--set", "training.iterations=200", "--watch",
                            seconds=800)
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(cluster.cli("list", "-o", "json").stdout)["jobs"][0]
    assert job["result"]["loss"] < 2.5, "nats per byte"
