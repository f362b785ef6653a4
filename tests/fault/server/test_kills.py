"""A submit that was answered is on disk, and a request that is repeated makes one job, whenever the server dies.

MANTISSA_KILLS: how many kills (40; a night is 2000). MANTISSA_SEED: of the moments at which they come; printed."""
import os
import random
import time

from conftest import until
from submitter import Submitters

KILLS = int(os.environ.get("MANTISSA_KILLS", "40"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))


def test_nothing_acknowledged_is_lost_and_no_request_makes_two_jobs(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_KILLS={KILLS}")
    moments = random.Random(SEED)
    submitters = Submitters(cluster, 8)
    try:
        for _ in range(KILLS):
            time.sleep(moments.uniform(0.05, 0.8))  # the blow comes when it comes
            cluster.server.kill()
            cluster.start_server()
        answered = submitters.answered()
        until(lambda: submitters.answered() > answered, "it still answers")
    finally:
        submitters.finish()
    assert cluster.server.terminate() == 0
    submitters.check()
    assert submitters.repeats > 0, "or the kills have hit nothing"
