"""Clients that submit all the time and keep what they are told, and whether all of it is on disk."""
import sqlite3
import threading

import grpc

BATCH = 50
# Of a server that is away, or going: calls that reach one as it ends are cancelled by gRPC before we can refuse them.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


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
            spec.resources.worker_selector["never"] = "placed"
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
                    if error.code() not in PASSING:
                        self.wrong.append(str(error))
                        return
                    continue
                self.answered[request.request_id] = [outcome.job.id for outcome in response.outcomes]
                self.repeats += tries > 1
                break


class Submitters:
    """Several of them, until finish."""

    def __init__(self, cluster, count):
        self.cluster, self.stop = cluster, threading.Event()
        self.all = [Submitter(cluster, number, self.stop) for number in range(count)]
        for submitter in self.all:
            submitter.start()

    def answered(self):
        return sum(len(submitter.answered) for submitter in self.all)

    @property
    def repeats(self):
        return sum(submitter.repeats for submitter in self.all)

    def finish(self):
        self.stop.set()
        for submitter in self.all:
            submitter.join()

    def check(self, others=0):
        """After a clean stop of the server: all that was acknowledged is stored, each once, and no more than was asked
        for. `others`: jobs of anybody else. How many were acknowledged."""
        wrong = [fault for submitter in self.all for fault in submitter.wrong]
        assert not wrong, wrong
        told = {request: ids for submitter in self.all for request, ids in submitter.answered.items()}
        database = sqlite3.connect(self.cluster.folder / "server/mantissa.db")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = {row[0] for row in database.execute("SELECT id FROM jobs")}
        requests = dict(database.execute("SELECT request_id, job_ids FROM idempotency WHERE request_id != ''"))
        acknowledged = [job for ids in told.values() for job in ids]
        lost = [job for job in acknowledged if job not in stored]
        print(f"{len(acknowledged)} submits acknowledged, {self.repeats} batches repeated, {len(lost)} lost")
        assert not lost
        assert len(set(acknowledged)) == len(acknowledged)
        assert all(requests[request].split(",") == ids for request, ids in told.items())
        assert len(stored) == BATCH * len(requests) + others, "what is stored is what was asked for, each once"
        return len(acknowledged)
