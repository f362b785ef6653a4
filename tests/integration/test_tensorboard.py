"""Event files as the real TensorBoard reads them, and what happens to jobs when they cannot be written."""
import json
import shutil
import subprocess

import numpy
from conftest import until
from exported_runs import DEPS, evaluations, history, overflowing_spec, start_exporting_worker, worker_metric

# Prints {run: {tag: [[step, value, wall time], ...]}} of a folder; run by the Python of TensorBoard's own venv.
READER = """
import json, sys
from tensorboard.backend.event_processing import event_multiplexer
multiplexer = event_multiplexer.EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0})
multiplexer.AddRunsFromDirectory(sys.argv[1])
multiplexer.Reload()
runs = {}
for run, kinds in multiplexer.Runs().items():
    scalars = {tag: [[e.step, e.value, e.wall_time] for e in multiplexer.Scalars(run, tag)] for tag in kinds["scalars"]}
    from tensorboard.util import tensor_util
    for tag in kinds["tensors"]:
        scalars[tag] = [[e.step, float(tensor_util.make_ndarray(e.tensor_proto)), e.wall_time]
                        for e in multiplexer.Tensors(run, tag)]
    runs[run] = scalars
print(json.dumps(runs))
"""


def read_runs(folder):
    read = subprocess.run([DEPS / "tensorboard-venv/bin/python", "-c", READER, folder], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)


def check_run(run, tags):
    """A run of TensorBoard has every value of an attempt's history, as float32, at its iteration."""
    for tag, values in tags.items():
        assert {step: value for step, value, _ in run[tag]} == {
            iteration: float(numpy.float32(value)) for iteration, value in values.items()}, tag
        assert [step for step, _, _ in run[tag]] == sorted(values), tag


def test_tensorboard_shows_what_history_does(cluster, tmp_path):
    folder = tmp_path / "tensorboard"
    worker = start_exporting_worker(cluster, "--tensorboard-dir", folder)
    job = cluster.submit(overflowing_spec(cluster))
    cluster.wait_state(job.id, "SUCCEEDED")
    assert worker.terminate() == 0, "what is queued is written before the worker ends"
    runs = read_runs(folder)
    assert list(runs) == [f"{job.id}/attempt-1"]
    run, tags = runs[f"{job.id}/attempt-1"], history(cluster, job.id)[1]
    assert 1.0 in tags["train/overflow"].values() and len(tags["train/loss"]) == 120
    check_run(run, tags)
    measured = evaluations(cluster, job.id)
    assert len(measured) >= 2
    check_run(run, {"eval/loss": {i: e.loss for i, e in measured.items()},
                    "eval/accuracy": {i: e.accuracy for i, e in measured.items()}})
    created = job.create_time.seconds
    assert all(created - 1 <= wall_time <= created + 600 for _, _, wall_time in run["train/loss"])


def test_a_killed_worker_leaves_files_that_read_and_the_next_attempt_has_its_own(cluster, tmp_path):
    folder = tmp_path / "tensorboard"
    first = start_exporting_worker(cluster, "--tensorboard-dir", folder)
    spec = overflowing_spec(cluster, iterations=3000)
    spec.training.checkpoint.every_steps = 50
    job = cluster.submit(spec)
    cluster.wait_iteration(job.id, 200)
    first.kill()
    start_exporting_worker(cluster, "--tensorboard-dir", folder, name="ws-2")
    cluster.wait_state(job.id, "SUCCEEDED")
    assert cluster.workers["ws-2"].terminate() == 0
    runs, attempts = read_runs(folder), history(cluster, job.id)
    newest = max(attempts)
    assert newest >= 2 and f"{job.id}/attempt-1" in runs
    check_run(runs[f"{job.id}/attempt-{newest}"], attempts[newest])
    # Of the first attempt the server may have less than the files: what the agent had not yet sent.
    written = {step: value for step, value, _ in runs[f"{job.id}/attempt-1"]["train/loss"]}
    for iteration, value in attempts[1]["train/loss"].items():
        assert written[iteration] == float(numpy.float32(value))


def test_a_folder_that_goes_away_or_fills_up_costs_a_job_nothing(cluster, tmp_path):
    folder = tmp_path / "tensorboard"
    worker = start_exporting_worker(cluster, "--tensorboard-dir", folder)
    shutil.rmtree(folder)
    folder.write_text("a file is in the way")
    job = cluster.submit(overflowing_spec(cluster))
    ended = cluster.wait_state(job.id, "SUCCEEDED")
    assert ended.attempt == 1
    assert until(lambda: worker_metric(worker, "mantissa_worker_export_failures_total"), "the failures are counted")
    said = [line for line in worker.log_text().splitlines() if "an exporter fails" in line]
    assert len(said) == 1 and "--tensorboard-dir" in said[0], said
    folder.unlink()  # mended: what waited is written now
    until(lambda: "an exporter works again" in worker.log_text(), "the exporter works again")
    assert worker.terminate() == 0
    check_run(read_runs(folder)[f"{job.id}/attempt-1"], history(cluster, job.id)[1])
