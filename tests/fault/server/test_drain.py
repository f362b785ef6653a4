"""A server and a worker that are told to stop under load lose nothing.

MANTISSA_ROUNDS: how often each is told (10; 50 by hand). MANTISSA_SEED: of when; printed."""
import os
import queue
import random
import signal
import threading
import time

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from blows import attempts_of, cancel, checkpoints_of, endless_job, manifest_is_whole
from clients import Client
from conftest import iterations, sequences, until, watch
from figures import tell
from invariants import SqliteRows, acknowledged, violations
from load import Submitter

ROUNDS = int(os.environ.get("MANTISSA_ROUNDS", "10"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
NOT_SERVING = 1.0
SERVER_GRACE, WORKER_GRACE = 5.0, 30.0  # --drain-timeout and --drain-grace, as they are by default
CLOSING = 3.0  # the port of the metrics takes up to two seconds to close


class Readiness(threading.Thread):
    """Watches the health of the service that clients ask for, and notes when it changes. Goes once that is said, or
    stays for as long as it is let."""

    def __init__(self, cluster, stays):
        super().__init__()
        self.states, self.stays = queue.Queue(), stays
        request = HealthCheckRequest(service="mantissa.v1.JobService")
        self.call = HealthStub(cluster.channel()).Watch(request, wait_for_ready=True)
        self.start()

    def run(self):
        try:
            for answer in self.call:
                self.states.put((answer.status, time.monotonic()))
                if answer.status == HealthCheckResponse.NOT_SERVING and not self.stays:
                    self.call.cancel()
        except grpc.RpcError:
            pass


def test_a_server_that_is_told_to_stop_says_so_at_once_and_loses_nothing(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_ROUNDS={ROUNDS}")
    moments = random.Random(SEED)
    cluster.start_worker()
    job = cluster.submit(endless_job(cluster))
    cluster.wait_iteration(job.id, 500)
    submitters = [Submitter(cluster, f"s{number}", SEED, batch=50) for number in range(4)]
    for submitter in submitters:
        submitter.start()
    said, ended = [], []
    try:
        for number in range(ROUNDS):
            readiness = Readiness(cluster, stays=number == 0)
            assert readiness.states.get(timeout=10)[0] == HealthCheckResponse.SERVING
            time.sleep(moments.uniform(0.05, 0.5))  # it is told when it is told
            told = time.monotonic()
            cluster.server.process.send_signal(signal.SIGTERM)
            status, at = readiness.states.get(timeout=10)
            assert status == HealthCheckResponse.NOT_SERVING
            said.append(round(at - told, 3))
            assert cluster.server.process.wait(timeout=60) == 0
            ended.append(round(time.monotonic() - told, 2))
            readiness.join()
            cluster.start_server()
    finally:
        Client.finish(submitters)
    assert max(said) <= NOT_SERVING and max(ended) <= SERVER_GRACE + CLOSING
    cluster.wait_iteration(job.id, cluster.get(job.id).progress.iteration + 100)
    cancel(cluster, job.id)
    assert len(attempts_of(cluster, job.id)) == 1, "and no attempt is stopped by it"
    _, segments = watch(cluster, job.id)
    history = iterations(cluster, segments)
    assert history == [(1, number) for number in range(1, len(history) + 1)]
    assert cluster.server.terminate() == 0
    histories = [submitter.history for submitter in submitters]
    found = violations(SqliteRows(cluster.folder / "server/mantissa.db"), histories, others=[job.id])
    assert not found, found[:20]
    assert acknowledged(histories) > 0
    tell(ROUNDS, SEED, not_serving_at_most=(max(said), "s"), ended_at_most=(max(ended), "s"),
         acknowledged=(acknowledged(histories), "1"), lost=(len(found), "1"))


def test_a_worker_that_is_told_to_stop_commits_a_checkpoint_and_nothing_is_trained_twice(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_ROUNDS={ROUNDS}")
    moments = random.Random(SEED)
    states = cluster.pb("job").Attempt
    for name in ("ws-1", "ws-2"):
        cluster.start_worker(name)
    job = cluster.submit(endless_job(cluster)).id
    taken, reached = [], 0
    for number in range(1, ROUNDS + 1):
        reached += moments.randrange(100, 1_500)
        cluster.wait_iteration(job, reached)
        name = cluster.get(job).progress.worker_id
        told = time.monotonic()
        assert cluster.workers[name].terminate() == 0
        taken.append(round(time.monotonic() - told, 2))
        until(lambda: (lambda it: len(it) == number + 1 and it[-1].state == states.RUNNING)(attempts_of(cluster, job)),
              "the other one has it", 15)
        stopped, resumed = attempts_of(cluster, job)[-2:]
        saved = next(it for it in checkpoints_of(cluster, job) if it.name == resumed.resumed_from)
        assert stopped.state == states.STOPPED and stopped.reason == cluster.pb("job").Reason.WORKER_STOPPED
        assert saved.attempt == number and saved.iteration == stopped.iteration and manifest_is_whole(cluster, saved)
        reached = saved.iteration
        cluster.start_worker(name)
    assert max(taken) <= WORKER_GRACE
    cancel(cluster, job)
    _, segments = watch(cluster, job)
    numbers, history = sequences(segments), iterations(cluster, segments)
    assert numbers == list(range(1, len(numbers) + 1))
    assert [number for _, number in history] == list(range(1, len(history) + 1)), "each iteration once"
    tell(ROUNDS, SEED, checkpoints_committed=(100, "%"), ended_at_most=(max(taken), "s"))
