"""A job's life in the hands of its user: paused, resumed, moved, updated, cloned, deleted; with real training underneath."""
import hashlib
import os
import signal

from conftest import iterations, sequences, until, watch

LONG = 40_000


def model_of(cluster, job_id, folder):
    """SHA-256 of a job's final parameters."""
    file = folder / f"{job_id}.safetensors"
    done = cluster.cli("download", job_id, "-O", file)
    assert done.returncode == 0, done.stderr
    return hashlib.sha256(file.read_bytes()).hexdigest()


def pause(cluster, job_id):
    return cluster.jobs().PauseJob(cluster.pb("job_service").PauseJobRequest(job_id=job_id))


def resume(cluster, job_id):
    return cluster.jobs().ResumeJob(cluster.pb("job_service").ResumeJobRequest(job_id=job_id))


def attempts_of(cluster, job_id):
    return cluster.jobs().ListAttempts(cluster.pb("job_service").ListAttemptsRequest(job_id=job_id)).attempts


def test_a_paused_job_frees_its_device_and_ends_with_the_bits_of_one_that_never_stopped(cluster, tmp_path):
    cluster.start_worker()
    whole = cluster.submit(cluster.digits(iterations=LONG))
    cluster.wait_state(whole.id, "SUCCEEDED", seconds=120)

    job = cluster.submit(cluster.digits(iterations=LONG))
    for seen in (1_000, 8_000, 20_000):
        cluster.wait_iteration(job.id, seen)
        pause(cluster, job.id)
        cluster.wait_state(job.id, "PAUSED", seconds=5)
        other = cluster.submit(cluster.digits(iterations=20))
        cluster.wait_state(other.id, "SUCCEEDED", seconds=30)
        assert cluster.get(job.id).state == cluster.pb("job").Job.PAUSED
        resume(cluster, job.id)
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert done.attempt == 4
    stopped = cluster.pb("job").Attempt.STOPPED
    assert [attempt.state for attempt in attempts_of(cluster, job.id)][1:] == [stopped] * 3
    _, segments = watch(cluster, job.id)
    assert [number for _, number in iterations(cluster, segments)] == list(range(1, LONG + 1)), "each once and in order"
    assert model_of(cluster, job.id, tmp_path) == model_of(cluster, whole.id, tmp_path)


def losses(cluster, job_id):
    _, segments = watch(cluster, job_id)
    loss = cluster.pb("telemetry").Column.LOSS
    return [value for segment in segments for column in segment.records.columns if column.standard == loss
            for value in column.doubles.values]


def test_a_trainer_that_has_run_other_jobs_gives_the_bits_of_a_fresh_one(cluster, tmp_path):
    spec = cluster.digits(iterations=300, precision="BF16")
    spec.training.model.ClearField("mlp")
    layers = spec.training.model.sequential.layers
    layers.add().flatten.SetInParent()
    layers.add().linear.out = 32
    layers.add().gelu.SetInParent()
    layers.add().dropout.probability = 0.3
    layers.add().linear.SetInParent()
    others = [cluster.digits(iterations=200, precision="FP16"), cluster.digits(iterations=100, precision="FP32")]
    # The second fails in the middle of a step: what it leaves behind must not matter either.
    others[1].training.optimizer.sgd.learning_rate = 1000
    others[1].training.precision.on_failure = "FAIL"

    fresh = cluster.start_worker("ws-1")
    first = cluster.submit(spec)
    ended = cluster.wait_state(first.id, "SUCCEEDED", "FAILED")
    assert ended.state == cluster.pb("job").Job.SUCCEEDED, ended.state_message
    assert fresh.terminate() == 0

    used = cluster.start_worker("ws-2")
    trainers = until(lambda: cluster.trainer_pids(used), "a trainer")
    for other in others:
        cluster.wait_state(cluster.submit(other).id, "SUCCEEDED", "FAILED")
    second = cluster.submit(spec)
    cluster.wait_state(second.id, "SUCCEEDED")
    assert cluster.trainer_pids(used) == trainers, "the same process ran all three"
    assert losses(cluster, second.id) == losses(cluster, first.id)
    assert model_of(cluster, second.id, tmp_path) == model_of(cluster, first.id, tmp_path)


def test_a_drained_worker_hands_its_job_over_and_gets_no_more_until_that_is_undone(cluster):
    cluster.start_worker("ws-1")
    job = cluster.submit(cluster.digits(iterations=LONG))
    cluster.wait_iteration(job.id, 1_000)
    cluster.start_worker("ws-2")
    drained = cluster.cli("drain", "ws-1")
    assert drained.returncode == 0 and "1 job saves and goes on elsewhere" in drained.stdout, drained
    moved = until(lambda: (lambda it: it if it.attempt == 2 else None)(cluster.get(job.id)), "another attempt", 15)
    assert moved.progress.worker_id == "ws-2"
    cluster.server.kill()
    cluster.start_server()
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    _, segments = watch(cluster, job.id)
    assert [number for _, number in iterations(cluster, segments)] == list(range(1, LONG + 1)), "nothing is lost or twice"
    assert "drained" in cluster.cli("workers").stdout, "the wish outlives the server"

    cluster.workers["ws-2"].terminate()
    waiting = cluster.submit(cluster.digits(iterations=20))
    assert cluster.get(waiting.id).state == cluster.pb("job").Job.QUEUED
    assert cluster.cli("drain", "ws-1", "--undo").returncode == 0
    cluster.wait_state(waiting.id, "SUCCEEDED", seconds=30)


def test_a_worker_that_was_only_cut_off_takes_its_attempt_up_again(cluster):
    worker = cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=LONG))
    cluster.wait_iteration(job.id, 500)
    os.kill(worker.process.pid, signal.SIGSTOP)  # the agent; its trainer trains on
    lost = cluster.wait_state(job.id, "QUEUED", seconds=15)
    assert lost.attempt == 1
    os.kill(worker.process.pid, signal.SIGCONT)
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert done.attempt == 1
    _, segments = watch(cluster, job.id)
    numbers = sequences(segments)
    assert numbers == list(range(1, len(numbers) + 1))
    assert iterations(cluster, segments) == [(1, number) for number in range(1, LONG + 1)]


def test_a_deleted_job_leaves_nothing_on_the_server_or_its_workers(cluster, tmp_path):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=200, checkpoint_every=50))
    refused = cluster.cli("delete", job.id)
    if refused.returncode != 0:
        assert "cancel it" in refused.stderr
    else:
        raise AssertionError("a job that has not ended was deleted")
    cluster.wait_state(job.id, "SUCCEEDED", seconds=60)
    until(lambda: cluster.cli("download", job.id, "-O", tmp_path / "model", "--force").returncode == 0, "its model is here")
    assert (cluster.checkpoints / job.id).exists() and (cluster.folder / "server/jobs" / job.id).exists()
    deleted = cluster.cli("delete", job.id)
    assert deleted.returncode == 0, deleted.stderr
    assert cluster.cli("get", job.id).returncode == 5
    until(lambda: not (cluster.folder / "server/jobs" / job.id).exists(), "its files on the server are gone", 30)
    # os.walk, which does not mind a folder that goes while it looks.
    until(lambda: not any("MANIFEST.json" in files for _, _, files in os.walk(cluster.checkpoints / job.id)),
          "its checkpoints are gone", 30)


def test_update_clone_and_requeue_from_the_command_line(cluster):
    first = cluster.submit(cluster.digits(iterations=20))
    second = cluster.submit(cluster.digits(iterations=20))
    updated = cluster.cli("update", second.id, "--set", "priority=7", "--set", "labels.team=nlp")
    assert updated.returncode == 0 and "revision 2" in updated.stdout, updated
    job = cluster.get(second.id)
    assert (job.queue_position, job.labels["team"], job.spec.priority) == (1, "nlp", 7)
    assert cluster.get(first.id).queue_position == 2
    fixed = cluster.cli("update", second.id, "--set", "training.batch_size=3")
    assert fixed.returncode == 2 and "clone it" in fixed.stderr, fixed

    cluster.start_worker()
    cluster.wait_state(second.id, "SUCCEEDED", seconds=60)
    clone = cluster.cli("clone", second.id, "--set", "training.iterations=30000", "--name", "longer", "--from-checkpoint",
                        "-o", "name")
    assert clone.returncode == 0, clone.stderr
    longer = clone.stdout.strip()
    cluster.wait_iteration(longer, 1_000)
    assert cluster.get(longer).labels["team"] == "nlp"
    assert cluster.cli("requeue", longer).returncode == 0
    until(lambda: cluster.get(longer).attempt == 2, "its second attempt", 15)
    done = cluster.wait_state(longer, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED and done.attempt == 2, done.state_message
