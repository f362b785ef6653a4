"""Bad input, end to end: a message that names field, reason and remedy, and the right exit code."""
import signal
import socket
import struct
import subprocess
import os
import threading

import pytest
from conftest import BIN, until

USAGE, FAILED, UNAVAILABLE, INTERRUPTED = 2, 3, 6, 130

GOOD = """\
name: digits
training:
  model: {{ mlp: {{ hidden: [16] }} }}
  data: {{ train: {{ idx: {{ images: {images}, labels: {labels} }} }} }}
  precision: {precision}
  {more}
"""


def spec(images="digits/train-images.idx", labels="digits/train-labels.idx", precision="{ mode: FP16 }",
         more="iterations: 20"):
    return GOOD.format(images=images, labels=labels, precision=precision, more=more)


def submit(cluster, text):
    path = cluster.folder / "spec.yaml"
    path.write_text(text)
    return cluster.cli("submit", path, "--watch")


@pytest.mark.parametrize("text, said", [
    (spec().replace("batch", "batch") + "  bach_size: 3\n", ["bach_size", "batch_size", "7"]),
    (spec(more="batch_size: many"), ["batch_size", "many"]),
    (spec(more="batch_size: 0"), ["training.batch_size", "1"]),
    (spec(more="batch_size: -5"), ["training.batch_size"]),
    (spec(more="batch_size: 99999999999999"), ["batch_size"]),
    (spec(precision="{ mode: FP16, loss_scale: { init: 0 } }"), ["training.precision.loss_scale.init"]),
    (spec(precision="{ mode: FP16, loss_scale: { init: .nan } }"), ["training.precision.loss_scale.init"]),
    (spec(images="../../etc/passwd"), ["training.data.train.idx.images", ".."]),
    (spec(images="/etc/passwd"), ["training.data.train.idx.images"]),
    (spec(precision="{ mode: BF16, overrides: [{ match: haed, compute: FP32 }] }"), ["overrides[0].match", "head"]),
    (spec(precision="{ mode: BF16, overrides: [{ match: head, compute: FP16 }] }"), ["overrides[0].compute", "loss scale"]),
    (spec(more="execution: { mode: GRAPH }") + "\nresources: { device: CPU }\n", ["training.execution.mode", "AUTO"]),
    ("", ["empty"]),
])
def test_a_bad_spec_is_refused_before_it_is_queued(cluster, text, said):
    result = submit(cluster, text)
    assert result.returncode == USAGE, result.stderr
    for word in said:
        assert word in result.stderr, result.stderr


def test_what_is_not_built_yet_is_said_to_be(cluster):
    result = submit(cluster, spec() + "\nresources: { gpus: 2 }\n")
    assert result.returncode == 1, result.stderr
    for word in ("resources.gpus", "not built in this release", "set it to 1"):
        assert word in result.stderr, result.stderr


def test_all_violations_are_said_at_once(cluster):
    result = submit(cluster, spec(more="{batch_size: 0, max_grad_norm: -1, iterations: 0}".strip("{}").replace(", ", "\n  ")))
    for field in ("training.batch_size", "training.max_grad_norm", "training.iterations"):
        assert field in result.stderr, result.stderr


def idx_images(count, rows=8, columns=8, body=None):
    return struct.pack(">IIII", 0x803, count, rows, columns) + (os.urandom(count * rows * columns) if body is None else body)


def idx_labels(values):
    return struct.pack(">II", 0x801, len(values)) + bytes(values)


@pytest.mark.parametrize("files, said", [
    ({}, ["training.data.train.idx.images", "is not there", "root 'data'"]),
    ({"i.idx": idx_images(10, body=b"short"), "l.idx": idx_labels([0] * 10)}, ["images", "truncated"]),
    ({"i.idx": idx_images(10), "l.idx": idx_labels([0] * 9)}, ["10", "9"]),
    ({"i.idx": idx_images(0), "l.idx": idx_labels([])}, ["images"]),
    ({"i.idx": b"", "l.idx": idx_labels([0])}, ["images"]),
    ({"i.idx": struct.pack(">IIII", 0x803, 0xFFFFFFFF, 0xFFFF, 0xFFFF), "l.idx": idx_labels([0])}, ["images"]),
])
def test_bad_data_fails_the_job_and_says_which_file_and_why(cluster, files, said):
    for name, content in files.items():
        (cluster.data / name).write_bytes(content)
    cluster.start_worker()
    result = submit(cluster, spec(images="i.idx", labels="l.idx"))
    assert result.returncode == FAILED, result.stderr
    for word in said:
        assert word in result.stdout + result.stderr, result.stdout + result.stderr


def test_a_label_out_of_range_is_named(cluster):
    (cluster.data / "i.idx").write_bytes(idx_images(4))
    (cluster.data / "l.idx").write_bytes(idx_labels([0, 1, 7, 2]))
    cluster.start_worker()
    text = spec(images="i.idx", labels="l.idx, classes: 4")
    result = submit(cluster, text)
    assert result.returncode == FAILED and "7" in result.stdout + result.stderr


def test_a_model_that_cannot_fit_in_memory_is_refused_with_its_size(cluster):
    cluster.start_worker()
    result = submit(cluster, spec().replace("hidden: [16]", "hidden: [131072, 131072]"))
    assert result.returncode == FAILED, result.stderr
    for word in ("training.model", "GiB", "free on cpu", "smaller model"):
        assert word in result.stdout, result.stdout


def test_a_model_that_fits_no_machine_is_refused_before_it_is_queued(cluster):
    result = submit(cluster, spec().replace("hidden: [16]", "hidden: [1048576, 1048576]"))
    assert result.returncode == USAGE, result.stderr
    for word in ("training.model", "GiB", "lower its widths"):
        assert word in result.stderr, result.stderr


def test_no_server_is_unavailable_and_says_what_to_do(cluster):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    result = cluster.cli("list", address=address)
    assert result.returncode == UNAVAILABLE
    assert address in result.stderr and "MANTISSA_ADDRESS" in result.stderr


def test_a_wrong_port_that_speaks_something_else_has_its_own_sentence(cluster):
    result = cluster.cli("list", address=cluster.metrics)
    assert result.returncode == UNAVAILABLE
    assert cluster.metrics in result.stderr


def test_an_unknown_job_is_not_found(cluster):
    result = cluster.cli("get", "nosuchjob")
    assert result.returncode == 5 and "nosuchjob" in result.stderr


def test_interrupting_a_watch_detaches_and_the_job_goes_on(cluster):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=50_000_000))
    cluster.wait_iteration(job.id, 10)
    watcher = subprocess.Popen([str(BIN / "mantissa"), "--address", cluster.address, "watch", job.id], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(watcher.stderr.readline, "")), daemon=True)
    out = []
    out_reader = threading.Thread(target=lambda: out.extend(iter(watcher.stdout.readline, "")), daemon=True)
    reader.start(), out_reader.start()
    until(lambda: seen or out, "the watch shows something")
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(timeout=10) == INTERRUPTED
    reader.join(10)
    assert any("mantissa watch" in line for line in seen), seen
    assert cluster.get(job.id).state == cluster.pb("job").Job.RUNNING


def test_a_job_without_a_worker_says_why_it_waits(cluster):
    job = cluster.submit(cluster.digits())
    queued = cluster.get(job.id)
    assert queued.reason == cluster.pb("job").Reason.WAITING_FOR_WORKER
    assert queued.queue_position == 1 and "worker" in queued.state_message
