"""A trainer that hangs while its agent is well is found by its standing still. MANTISSA_ROUNDS: how often (3; 20 by
hand)."""
import os
import signal
import time

from conftest import until
from figures import emit

ROUNDS = int(os.environ.get("MANTISSA_ROUNDS", "3"))
STALL = 2


def test_a_frozen_trainer_is_found_within_its_stall_timeout(cluster):
    worker = cluster.start_worker()
    late = []
    for number in range(ROUNDS):
        spec = cluster.digits(iterations=50_000_000)
        spec.timeouts.stall.seconds = STALL
        spec.retry.max_attempts = 1
        job = cluster.submit(spec)
        cluster.wait_iteration(job.id, 200)
        for pid in cluster.trainer_pids(worker):
            os.kill(pid, signal.SIGSTOP)
        frozen = time.monotonic()
        ended = cluster.wait_state(job.id, "FAILED", seconds=STALL + 5)
        late.append(round(time.monotonic() - frozen, 1))
        attempts = cluster.jobs().ListAttempts(cluster.pb("job_service").ListAttemptsRequest(job_id=job.id)).attempts
        assert attempts[0].reason == cluster.pb("job").Reason.STALLED, (number, ended.state_message)
        until(lambda: cluster.trainer_pids(worker), "another trainer", 30)
    print(f"found {late} s after they froze, with a stall timeout of {STALL} s")
    command = f"MANTISSA_ROUNDS={ROUNDS} ctest --preset release -R fault.stuck"
    emit("P25", "found_after_freezing_max", max(late), "s", ROUNDS, None, command)
    emit("P25", "found_as_stalled", len(late), "trainers", ROUNDS, None, command)
