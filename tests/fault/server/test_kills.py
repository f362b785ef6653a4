"""A submit that was answered is on disk, and a request that is repeated makes one job, whenever the server dies.

MANTISSA_KILLS: how many kills (40; a night is 2000). MANTISSA_SEED: of the moments at which they come; printed."""
import os
import random
import sqlite3
import threading
import time

import grpc

from conftest import until

KILLS = int(os.environ.get("MANTISSA_KILLS", "40"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
SUBMITTERS = 8
BATCH = 50


class Submitter(threading.Thread):
    """Submits batches one after another, each until it is answered, and keeps what it was told."""

    def __init__(self, cluster, number, stop):
        super().__init__()
        self.cluster, self.number, self.stop = cluster, number, stop
        self.answered = {}  # request id -> job ids, as they were told first
        self.repeats = 0
        self.wrong = []

    def batch(self):
        pb = self.cluster.pb("job_service")
        request = pb.SubmitJobsRequest()
        for _ in range(BATCH):
            spec = request.specs.add()
            spec.training.model.mlp.hidden.append(8)
            spec.training.data.train.synthetic.samples = 64
            # They end by themselves, so that a start has not all of them to load.
            spec.timeouts.queue.nanos = 300_000_000
        return request

    def run(self):
        stub = self.cluster.jobs()
        request = self.batch()
        serial = 0
        while not self.stop.is_set():
            serial += 1
            request.request_id = f"{self.number}-{serial}"
            tries = 0
            while not self.stop.is_set():
                tries += 1
                try:
                    response = stub.SubmitJobs(request, timeout=5, wait_for_ready=True)
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        self.wrong.append(str(error))
                        return
                    continue
                self.answered[request.request_id] = [outcome.job.id for outcome in response.outcomes]
                self.repeats += tries > 1
                break


def test_nothing_acknowledged_is_lost_and_no_request_makes_two_jobs(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_KILLS={KILLS}")
    moments = random.Random(SEED)
    stop = threading.Event()
    submitters = [Submitter(cluster, number, stop) for number in range(SUBMITTERS)]
    for submitter in submitters:
        submitter.start()
    try:
        for _ in range(KILLS):
            time.sleep(moments.uniform(0.05, 0.8))  # the blow comes when it comes
            cluster.server.kill()
            cluster.start_server()
        answered = sum(len(submitter.answered) for submitter in submitters)
        until(lambda: sum(len(submitter.answered) for submitter in submitters) > answered, "it still answers")
    finally:
        stop.set()
        for submitter in submitters:
            submitter.join()
    assert not [fault for submitter in submitters for fault in submitter.wrong]
    assert cluster.server.terminate() == 0

    told = {request: ids for submitter in submitters for request, ids in submitter.answered.items()}
    repeats = sum(submitter.repeats for submitter in submitters)
    database = sqlite3.connect(cluster.folder / "server/mantissa.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    stored = {row[0] for row in database.execute("SELECT id FROM jobs")}
    requests = dict(database.execute("SELECT request_id, job_ids FROM idempotency"))
    acknowledged = [job for ids in told.values() for job in ids]
    lost = [job for job in acknowledged if job not in stored]
    print(f"{KILLS} kills, {len(acknowledged)} submits acknowledged, {repeats} batches repeated, {len(lost)} lost")
    assert not lost
    assert len(set(acknowledged)) == len(acknowledged)
    assert all(requests[request].split(",") == ids for request, ids in told.items())
    assert len(stored) == BATCH * len(requests), "what is stored is what was asked for, each once"
    assert repeats > 0, "or the kills have hit nothing"
