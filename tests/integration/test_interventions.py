"""What happens when precision fails, through server, worker and trainer: CLAMP, FAIL, ROLLBACK and FALLBACK."""
import json
import os
import pathlib
import signal
import subprocess

import pytest
from conftest import BIN, EXAMPLES, iterations, until, watch

# 2^24 overflows on the digits, and so does the floor: three skipped iterations, and FP16 is at its end.
INIT, FLOOR = 2.0**24, 2.0**22


def hostile(cluster, on_failure=None, fallback=(), iterations_=200, **more):
    spec = cluster.digits(iterations=iterations_, **more)
    spec.training.precision.loss_scale.init = INIT
    spec.training.precision.loss_scale.min = FLOOR
    if on_failure:
        spec.training.precision.on_failure = on_failure
    spec.training.precision.fallback.extend(fallback)
    spec.retry.max_attempts = 1  # an intervention uses no retry
    return spec


def ended(cluster, spec, seconds=120):
    return cluster.wait_state(cluster.submit(spec).id, "SUCCEEDED", "FAILED", seconds=seconds)


def attempts(cluster, job_id):
    """Oldest first."""
    request = cluster.pb("job_service").ListAttemptsRequest(job_id=job_id)
    return list(reversed(cluster.jobs().ListAttempts(request).attempts))


def checkpoints(cluster, job_id):
    return list(cluster.jobs().ListCheckpoints(cluster.pb("job_service").ListCheckpointsRequest(job_id=job_id)).checkpoints)


def column(cluster, segments, name):
    """(attempt, value) of every record that has one."""
    standard = cluster.pb("telemetry").Column.Standard.Value(name)
    return [(segment.attempt, value) for segment in segments for one in segment.records.columns if one.standard == standard
            for value in [*one.integers.values, *one.doubles.values]]


def interventions(segments):
    return [segment.event for segment in segments if segment.event.HasField("intervention")]


def test_fail_ends_the_job_at_the_floor(cluster):
    cluster.start_worker()
    job = ended(cluster, hostile(cluster, "FAIL"))
    assert job.state == cluster.pb("job").Job.FAILED
    assert job.reason == cluster.pb("job").Reason.SCALE_AT_MINIMUM, job.state_message
    assert job.result.iterations == 3 and job.result.skipped_iterations == 3
    assert not job.HasField("lineage")


def test_clamp_goes_on_at_the_floor_until_fifty_in_a_row(cluster):
    cluster.start_worker()
    job = ended(cluster, hostile(cluster, "CLAMP"))
    assert job.state == cluster.pb("job").Job.FAILED
    assert job.reason == cluster.pb("job").Reason.NUMERIC_FAILURE, job.state_message
    assert job.result.iterations == 50 and job.result.loss_scale == FLOOR


def test_rollback_goes_back_once_and_says_that_it_has_not_helped(cluster):
    cluster.start_worker()
    job = ended(cluster, hostile(cluster, "ROLLBACK"))
    assert job.state == cluster.pb("job").Job.FAILED
    assert job.reason == cluster.pb("job").Reason.SCALE_AT_MINIMUM
    assert "the same iterations failed again" in job.state_message, job.state_message
    first, second = attempts(cluster, job.id)
    assert first.reason == cluster.pb("job").Reason.ROLLED_BACK
    assert second.resumed_from == "attempt-0001/step-00000000", "generation 0"
    assert second.placements[0].worker_id == first.placements[0].worker_id
    assert (job.lineage.number, job.lineage.rollbacks, job.lineage.learning_rate_factor) == (2, 1, 0.5)
    assert [(window.first, window.last) for window in job.lineage.skipped_windows] == [(0, 2)]
    _, segments = watch(cluster, job.id)
    assert [number for _, number in column(cluster, segments, "LINEAGE")] == [1, 1, 1, 2, 2, 2]
    assert [scale for _, scale in column(cluster, segments, "LOSS_SCALE")] == [INIT, INIT / 2, FLOOR] * 2


def test_rollback_falls_back_where_it_has_not_helped(cluster):
    cluster.start_worker()
    job = ended(cluster, hostile(cluster, "ROLLBACK", ["BF16"]))
    assert job.state == cluster.pb("job").Job.SUCCEEDED, job.state_message
    assert job.result.precision == cluster.pb("training").PrecisionSpec.BF16
    reasons = [cluster.pb("job").Reason.Code.Name(attempt.reason) for attempt in attempts(cluster, job.id)]
    assert reasons == ["ROLLED_BACK", "FELL_BACK", "COMPLETED"]
    assert (job.lineage.number, job.lineage.learning_rate_factor) == (3, 0.5), "the rate is kept by the fallback"


def test_a_fallback_finishes_in_the_next_precision(cluster):
    cluster.start_worker()
    submitted = cluster.cli("submit", EXAMPLES / "digits_fallback.yaml", "--watch")
    assert submitted.returncode == 0, submitted.stderr
    assert "falls back from FP16 to BF16" in " ".join(submitted.stdout.split()), "above the block, wrapped"
    job = json.loads(cluster.cli("get", "digits-fallback", "-o", "json").stdout)
    assert job["state"] == "SUCCEEDED" and job["result"]["precision"] == "BF16"
    assert job["result"]["eval_accuracy"] >= 0.95
    assert job["lineage"]["number"] == 2 and job["lineage"]["precision"] == "BF16"
    assert "FP16 → BF16" in cluster.cli("get", "digits-fallback").stdout
    _, segments = watch(cluster, job["id"])
    rows = iterations(cluster, segments)
    assert [number for _, number in rows] == list(range(1, len(rows) + 1)), "no window is trained twice"
    (event,) = interventions(segments)
    assert event.reason == "FALLBACK" and event.intervention.attempt == 1


def test_a_job_that_fell_back_stays_there_when_its_trainer_is_killed_right_after(cluster):
    worker = cluster.start_worker()
    spec = hostile(cluster, fallback=["BF16"], iterations_=6_000, checkpoint_every=500)
    spec.retry.max_attempts = 3
    job = cluster.submit(spec)
    until(lambda: (lambda it: it.attempt == 2 and it.state == cluster.pb("job").Job.RUNNING)(cluster.get(job.id)),
          "the second attempt runs")
    for pid in cluster.trainer_pids(worker):
        os.kill(pid, signal.SIGKILL)
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=180)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert done.attempt == 3
    assert done.result.precision == cluster.pb("training").PrecisionSpec.BF16
    assert done.lineage.number == 2, "the kill is no intervention"
    _, segments = watch(cluster, job.id)
    assert {lineage for attempt, lineage in column(cluster, segments, "LINEAGE") if attempt > 1} == {2}
    assert not [scale for attempt, scale in column(cluster, segments, "LOSS_SCALE") if attempt > 1]


def diverging(cluster, checkpoint_every):
    """Weight decay times rate is 3, so that every step doubles the weights and turns their sign, until the loss leaves
    FP32. At half the rate every step halves them: there a rollback helps, whatever the data."""
    spec = cluster.digits(iterations=300, precision="FP32", checkpoint_every=checkpoint_every)
    spec.training.optimizer.sgd.learning_rate = 3
    spec.training.optimizer.sgd.momentum = 0
    spec.training.optimizer.sgd.weight_decay = 1
    spec.training.precision.on_failure = "ROLLBACK"
    spec.retry.max_attempts = 1
    return spec


def test_a_rollback_that_helps_finishes_from_the_last_finite_checkpoint(cluster):
    cluster.start_worker()
    job = ended(cluster, diverging(cluster, checkpoint_every=40))
    assert job.state == cluster.pb("job").Job.SUCCEEDED, job.state_message
    first, second = attempts(cluster, job.id)
    assert first.reason == cluster.pb("job").Reason.ROLLED_BACK
    assert second.resumed_from == job.lineage.checkpoint == "attempt-0001/step-00000040"
    _, segments = watch(cluster, job.id)
    (event,) = interventions(segments)
    trouble = event.intervention.intervention.iterations
    assert trouble.last - trouble.first + 1 == 50
    assert [(window.first, window.last) for window in job.lineage.skipped_windows] == [(trouble.first - 1, trouble.last - 1)]
    rows = iterations(cluster, segments)
    assert [number for attempt, number in rows if attempt == 1] == list(range(1, trouble.last + 1))
    assert [number for attempt, number in rows if attempt == 2] == list(range(41, 301))
    assert {rate for attempt, rate in column(cluster, segments, "LEARNING_RATE") if attempt == 2} == {1.5}


def test_the_last_finite_checkpoint_is_never_lost(cluster):
    """Every step is saved, so that the newest finite state is the one that fails: going back can't help."""
    cluster.start_worker()
    job = ended(cluster, diverging(cluster, checkpoint_every=1))
    assert job.state == cluster.pb("job").Job.FAILED and job.reason == cluster.pb("job").Reason.NUMERIC_FAILURE
    assert "the same iterations failed again" in job.state_message, job.state_message
    kept = {checkpoint.name: checkpoint for checkpoint in checkpoints(cluster, job.id)}
    assert kept[job.lineage.checkpoint].finite and not kept[job.lineage.checkpoint].abandoned
    zero = kept["attempt-0001/step-00000000"]
    for checkpoint in (kept[job.lineage.checkpoint], zero):
        folder = pathlib.Path(cluster.checkpoints) / checkpoint.path
        assert (folder / "MANIFEST.json").exists(), checkpoint.name
    assert json.loads((pathlib.Path(cluster.checkpoints) / zero.path / "MANIFEST.json").read_text())["initial"] == {"seed": "0"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_killed_around_an_intervention_records_it_once(cluster, when):
    cluster.start_worker()
    job = cluster.submit(hostile(cluster, fallback=["BF16"], iterations_=6_000))
    if when == "after":
        until(lambda: cluster.get(job.id).attempt == 2, "the fallback is recorded")
    else:
        cluster.wait_state(job.id, "STARTING", "RUNNING")
    cluster.server.kill()
    cluster.start_server()
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=180)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert (done.attempt, done.lineage.number) == (2, 2)
    _, segments = watch(cluster, job.id)
    assert len(interventions(segments)) == 1


def test_what_failed_is_kept_whole_and_replayed_elsewhere(cluster, tmp_path):
    """A layer that multiplies by 1e6 leaves FP16; the bundle says so on its own, without server, worker and data."""
    cluster.start_worker()
    spec = cluster.digits(iterations=200)
    model = spec.training.model
    model.ClearField("mlp")
    for kind, settings in (("flatten", {}), ("linear", {"out": 32}), ("scale", {"factor": 1e6}), ("linear", {})):
        layer = getattr(model.sequential.layers.add(), kind)
        layer.SetInParent()
        for name, value in settings.items():
            setattr(layer, name, value)
    spec.training.precision.on_failure = "FAIL"
    job = ended(cluster, spec)
    assert job.state == cluster.pb("job").Job.FAILED, job.state_message
    folder = tmp_path / "kept"
    fetched = cluster.cli("bundle", job.id, "-O", folder)
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout == f"mantissa-trainer --replay {folder}\n"
    # Nothing of it stays on the worker once the server has it.
    until(lambda: not (cluster.folder / "checkpoints" / job.id / "attempt-0001" / "bundle").exists(), "it is removed there")
    def replayed(*more):
        return subprocess.run([BIN / "mantissa-trainer", "--replay", folder, *more], capture_output=True, text=True)

    replay = replayed()
    assert replay.returncode == 0, replay.stdout + replay.stderr
    assert "layers.2" in replay.stdout, replay.stdout
    assert replay.stdout.endswith("REPRODUCED\n")
    assert json.loads(replayed("--json").stdout)["location"]["module"] == "layers.2"
    (folder / "batch.safetensors").write_bytes(b"")
    damaged = replayed()
    assert damaged.returncode == 1 and "batch.safetensors" in damaged.stderr


def test_a_job_that_skipped_nothing_has_nothing_to_replay(cluster, tmp_path):
    cluster.start_worker()
    job = ended(cluster, cluster.digits(iterations=20))
    none = cluster.cli("bundle", job.id, "-O", tmp_path / "none")
    assert none.returncode == 5 and "there is nothing to replay" in none.stderr, none.stderr
