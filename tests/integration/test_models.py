"""Models that a spec describes: a convnet, layers of one's own, and layers that do not fit the files."""
import json

import numpy
import safetensors.numpy
from conftest import EXAMPLES


def test_a_convnets_running_statistics_are_in_its_checkpoint(cluster, tmp_path):
    cluster.start_worker()
    submitted = cluster.cli("submit", EXAMPLES / "digits_convnet_fp16.yaml", "--set", "training.epochs=4", "--watch",
                            seconds=600)
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(cluster.cli("get", "digits-convnet-fp16", "-o", "json").stdout)
    # The whole example reaches 0.98.
    assert job["result"]["eval_accuracy"] >= 0.8
    # The scale's search begins too high.
    assert job["result"]["skipped_iterations"] >= 3
    file = tmp_path / "model.safetensors"
    assert cluster.cli("download", job["id"], "-O", file).returncode == 0
    tensors = safetensors.numpy.load_file(file)
    assert tensors["stages.1.0.conv.weight"].shape == (32, 16, 3, 3)
    assert "stages.1.0.conv.bias" not in tensors
    assert all(numpy.isfinite(tensor).all() for tensor in tensors.values())
    assert (tensors["stages.0.0.norm.running_mean"] != 0).any() and (tensors["stages.0.0.norm.running_var"] > 0).all()


def test_layers_of_ones_own_learn(cluster):
    cluster.start_worker()
    submitted = cluster.cli("submit", EXAMPLES / "sequential_digits_bf16.yaml", "--set", "training.epochs=2", "--watch",
                            seconds=600)
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(cluster.cli("get", "sequential-digits-bf16", "-o", "json").stdout)
    assert job["result"]["eval_accuracy"] >= 0.8


def test_layers_that_do_not_fit_the_images_are_refused_by_field(cluster):
    cluster.start_worker()
    spec = cluster.digits(iterations=10)
    model = spec.training.model
    model.ClearField("mlp")
    model.sequential.layers.add().conv2d.out = 4
    model.sequential.layers[0].conv2d.kernel = 9
    model.sequential.layers.add().flatten.SetInParent()
    model.sequential.layers.add().linear.SetInParent()
    job = cluster.submit(spec)
    ended = cluster.wait_state(job.id, "FAILED", "SUCCEEDED")
    assert ended.state == cluster.pb("job").Job.FAILED and ended.reason == cluster.pb("job").Reason.BAD_SPEC
    assert "training.model.sequential.layers[0].conv2d.kernel: is 9" in ended.state_message, ended.state_message
