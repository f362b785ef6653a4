"""A server that is away costs no training, and a cut link at most one attempt. Lease and times are a tenth of 30 s and
of 0, 20 and 60 s; or a third, where a tenth would leave less of the lease than what is not scaled: the second between
two tries of a channel to connect, and the end of a process. A link is cut in two ways: connections end and new ones are
refused, or they stand and nothing comes through.

MANTISSA_ROUNDS: how often everything is done (1). MANTISSA_SEED: of how far the job is when it happens; printed."""
import os
import random
import time

import pytest

from blows import alive, attempts_of, cancel, check_resumed, checkpoints_of, endless_job
from conftest import iterations, sequences, until, watch
from figures import tell
from link import Link

ROUNDS = int(os.environ.get("MANTISSA_ROUNDS", "1"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
MOMENTS = random.Random(SEED)
SHORT, LONG = 2, 6
THIRD, THIRD_OF_LEASE = 6.7, "10s"
ENDS_AFTER_HEALING = 5.0  # not scaled: it is the channel's time to find the server again
STOPPED, SLACK = 25 / 3, 0.5  # the slack is for the end of a process, which is not scaled either
WAYS = pytest.mark.parametrize("way", ["cut", "silence"])


class Linked:
    """Workers that reach the server over links of their own."""

    def __init__(self, cluster):
        self.cluster, self.links = cluster, {}

    def start(self, name):
        self.links[name] = Link(self.cluster.address)
        self.cluster.start_worker(name, server=self.links[name].address)

    def close(self):
        for link in self.links.values():
            link.close()


@pytest.fixture
def linked(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_ROUNDS={ROUNDS}")
    it = Linked(cluster)
    yield it
    it.close()


def lengthen_lease(cluster):
    cluster.LEASE = THIRD_OF_LEASE
    cluster.server.kill()
    cluster.start_server()


def start_job(cluster, **spec):
    """A job that trains, up to some moment; and where."""
    wanted = endless_job(cluster, checkpoint_every=300)
    for field, value in spec.items():
        setattr(wanted, field, value)
    job = cluster.submit(wanted)
    cluster.wait_iteration(job.id, MOMENTS.randrange(700, 2_000))
    return job.id, cluster.get(job.id).progress.worker_id


def wait_running(cluster, job_id, attempt, seconds=15):
    def runs():
        job = cluster.get(job_id)
        return job if job.state == cluster.pb("job").Job.RUNNING and job.attempt == attempt else None
    return until(runs, f"attempt {attempt} runs", seconds)


def check_unbroken(cluster, job_id):
    """Its first attempt trains on, and each iteration so far is there once and in order. Ends the job."""
    cluster.wait_iteration(job_id, wait_running(cluster, job_id, 1).progress.iteration + 500)
    cancel(cluster, job_id)
    assert [it.number for it in attempts_of(cluster, job_id)] == [1]
    _, segments = watch(cluster, job_id)
    numbers, history = sequences(segments), iterations(cluster, segments)
    assert numbers == list(range(1, len(numbers) + 1))
    assert history == [(1, number) for number in range(1, len(history) + 1)]
    steps = [value for segment in segments for column in segment.records.columns
             if column.standard == cluster.pb("telemetry").Column.STEP for value in column.integers.values]
    assert len(steps) == len(history) and steps == sorted(steps), "the step never goes back"


def test_a_server_that_is_away_costs_no_training(cluster, linked):
    cluster.start_worker()
    for away in [0, SHORT, LONG] * ROUNDS:
        job, _ = start_job(cluster)
        cluster.server.kill()
        time.sleep(away)  # so long is the outage
        cluster.start_server()
        check_unbroken(cluster, job)
    tell(3 * ROUNDS, SEED, restarts=(0, "1"))


@WAYS
def test_a_link_that_is_cut_for_less_than_the_lease_costs_nothing(cluster, linked, way):
    lengthen_lease(cluster)
    linked.start("ws-1")
    linked.start("ws-2")  # which would take it
    for seconds in [0, THIRD] * ROUNDS:
        job, holder = start_job(cluster)
        getattr(linked.links[holder], way)()
        time.sleep(seconds)  # so long is the partition
        linked.links[holder].heal()
        check_unbroken(cluster, job)
    tell(2 * ROUNDS, SEED, restarts=(0, "1"))


@WAYS
def test_a_link_that_is_cut_for_longer_costs_nothing_where_nobody_else_is_free(cluster, linked, way):
    linked.start("ws-1")
    for _ in range(ROUNDS):
        job, holder = start_job(cluster)
        getattr(linked.links[holder], way)()
        began = time.monotonic()
        cluster.wait_state(job, "QUEUED", seconds=5)
        time.sleep(max(0.0, began + LONG - time.monotonic()))  # so long is the partition
        linked.links[holder].heal()
        check_unbroken(cluster, job)
    tell(ROUNDS, SEED, restarts=(0, "1"))


@WAYS
def test_a_link_that_is_cut_for_longer_costs_one_attempt_where_another_is_free(cluster, linked, way):
    linked.start("ws-1")
    linked.start("ws-2")
    ended = []
    for _ in range(ROUNDS):
        job, holder = start_job(cluster)
        trainers = cluster.trainer_pids(cluster.workers[holder])
        getattr(linked.links[holder], way)()
        began = time.monotonic()
        wait_running(cluster, job, 2, LONG)
        assert alive(trainers) == trainers, "who is cut off trains on"
        time.sleep(max(0.0, began + LONG - time.monotonic()))  # so long is the partition
        linked.links[holder].heal()
        healed = time.monotonic()
        until(lambda: not alive(trainers), "the old attempt is ended", 10)
        ended.append(round(time.monotonic() - healed, 2))
        check_resumed(cluster, job)
        until(lambda: cluster.trainer_pids(cluster.workers[holder]), "another trainer", 30)
    tell(ROUNDS, SEED, new_attempts_each=(1, "1"), ended_after_healing_at_most=(max(ended), "s"))
    assert max(ended) <= ENDS_AFTER_HEALING


@WAYS
def test_a_job_that_says_stop_is_over_before_another_worker_has_it(cluster, linked, way):
    lengthen_lease(cluster)
    linked.start("ws-1")
    linked.start("ws-2")
    freed = []
    for _ in range(ROUNDS):
        job, holder = start_job(cluster, on_disconnect="STOP")
        trainers = cluster.trainer_pids(cluster.workers[holder])
        getattr(linked.links[holder], way)()
        began = time.monotonic()
        until(lambda: not alive(trainers), "its trainer is gone", 15)
        freed.append(round(time.monotonic() - began, 2))
        assert cluster.get(job).attempt == 1, "never two at a time"
        wait_running(cluster, job, 2)
        linked.links[holder].heal()
        until(lambda: cluster.trainer_pids(cluster.workers[holder]), "another trainer", 30)
        check_resumed(cluster, job)
    tell(ROUNDS, SEED, device_free_at_most=(max(freed), "s"))
    assert max(freed) <= STOPPED + SLACK


def test_a_job_that_says_stop_goes_on_where_it_stopped_when_the_server_is_back(cluster, linked):
    cluster.start_worker()
    for _ in range(ROUNDS):
        job, holder = start_job(cluster, on_disconnect="STOP")
        trainers = cluster.trainer_pids(cluster.workers[holder])
        cluster.server.kill()
        until(lambda: not alive(trainers), "its trainer is gone", 10)
        cluster.start_server()
        wait_running(cluster, job, 2)
        first = attempts_of(cluster, job)[0]
        saved = [it for it in checkpoints_of(cluster, job) if it.attempt == 1][-1]
        assert saved.iteration == first.iteration, "what it saved alone was committed, and nothing is trained twice"
        check_resumed(cluster, job)
    tell(ROUNDS, SEED, trained_twice=(0, "1"))
