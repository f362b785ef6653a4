"""Programs are killed in mid-job; the job goes on, and nothing that was acknowledged is lost."""
import os
import signal

from conftest import iterations, sequences, until, watch

LONG = 60_000


def spec_of_a_long_job(cluster, iterations_=LONG, checkpoint_every=0):
    return cluster.digits(iterations=iterations_, checkpoint_every=checkpoint_every)


def test_a_killed_server_comes_back_and_the_same_attempt_goes_on(cluster):
    cluster.start_worker()
    job = cluster.submit(spec_of_a_long_job(cluster))
    cluster.wait_iteration(job.id, 500)
    cluster.server.kill()
    cluster.start_server()
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert done.attempt == 1
    _, segments = watch(cluster, job.id)
    numbers = sequences(segments)
    assert numbers == list(range(1, len(numbers) + 1))
    assert iterations(cluster, segments) == [(1, number) for number in range(1, LONG + 1)]


def test_a_killed_trainer_costs_one_attempt_which_resumes_from_the_last_checkpoint(cluster):
    worker = cluster.start_worker()
    job = cluster.submit(spec_of_a_long_job(cluster, checkpoint_every=500))
    checkpoints = until(lambda: cluster.jobs().ListCheckpoints(
        cluster.pb("job_service").ListCheckpointsRequest(job_id=job.id)).checkpoints, "a checkpoint is committed")
    running = cluster.wait_state(job.id, "RUNNING")
    assert running.attempt == 1
    for pid in cluster.trainer_pids(worker):
        os.kill(pid, signal.SIGKILL)
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert done.attempt == 2
    attempts = cluster.jobs().ListAttempts(cluster.pb("job_service").ListAttemptsRequest(job_id=job.id)).attempts
    newest, first = attempts[0], attempts[1]
    assert first.state == cluster.pb("job").Attempt.FAILED
    assert newest.resumed_from, "attempt 2 started from a checkpoint"
    _, segments = watch(cluster, job.id)
    second = [number for attempt, number in iterations(cluster, segments) if attempt == 2]
    assert second[0] > checkpoints[-1].iteration - 1 and second[-1] == LONG
    assert second == list(range(second[0], LONG + 1))


def test_a_killed_worker_gives_the_job_back_after_its_lease_and_another_runs_it(cluster):
    first = cluster.start_worker("ws-1")
    job = cluster.submit(spec_of_a_long_job(cluster, checkpoint_every=500))
    until(lambda: cluster.jobs().ListCheckpoints(
        cluster.pb("job_service").ListCheckpointsRequest(job_id=job.id)).checkpoints, "a checkpoint is committed")
    trainers = cluster.trainer_pids(first)
    first.kill()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in trainers), "its trainers die with it", 10)
    cluster.start_worker("ws-2")
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    attempts = cluster.jobs().ListAttempts(cluster.pb("job_service").ListAttemptsRequest(job_id=job.id)).attempts
    assert [attempt.placements[0].worker_id for attempt in attempts] == ["ws-2", "ws-1"]
    assert attempts[1].state == cluster.pb("job").Attempt.LOST
    assert attempts[0].resumed_from


def test_cancel_ends_a_running_job_within_two_seconds(cluster):
    cluster.start_worker()
    job = cluster.submit(spec_of_a_long_job(cluster, iterations_=50_000_000))
    cluster.wait_iteration(job.id, 100)
    cluster.jobs().CancelJob(cluster.pb("job_service").CancelJobRequest(job_id=job.id))
    cluster.wait_state(job.id, "CANCELLED", seconds=2)
    again = cluster.submit(cluster.digits(iterations=50))
    cluster.wait_state(again.id, "SUCCEEDED", seconds=30)


def test_a_worker_told_to_stop_checkpoints_its_job_and_leaves_cleanly(cluster):
    worker = cluster.start_worker("ws-1")
    job = cluster.submit(spec_of_a_long_job(cluster))
    cluster.wait_iteration(job.id, 1000)
    assert worker.terminate() == 0
    stopped = cluster.wait_state(job.id, "QUEUED")
    checkpoints = cluster.jobs().ListCheckpoints(
        cluster.pb("job_service").ListCheckpointsRequest(job_id=job.id)).checkpoints
    assert checkpoints and stopped.attempt == 1
    cluster.start_worker("ws-2")
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message


def test_a_server_told_to_stop_leaves_cleanly_under_load(cluster):
    cluster.start_worker()
    job = cluster.submit(spec_of_a_long_job(cluster))
    cluster.wait_iteration(job.id, 100)
    assert cluster.server.terminate() == 0
    cluster.start_server()
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == cluster.pb("job").Job.SUCCEEDED and done.attempt == 1
