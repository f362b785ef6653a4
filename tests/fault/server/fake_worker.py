"""A worker made of stubs: it takes what it is assigned, and says of it what a test wants."""
import hashlib
import threading
import uuid

# Of the spec that `spec` makes.
FEATURES = ["workload.training", "model.mlp", "data.synthetic", "precision.fp32", "precision.on_failure.clamp",
            "optimizer.adamw", "schedule.constant", "schedule.cosine", "schedule.linear"]
STORAGE = "storage-of-fakes"


def spec(cluster):
    it = cluster.pb("job").JobSpec(name="fake")
    it.training.model.mlp.hidden.append(8)
    it.training.data.train.synthetic.samples = 64
    it.training.precision.mode = "FP32"
    it.training.precision.on_failure = "CLAMP"
    it.retry.initial_backoff.nanos = 100_000_000
    return it


class FakeWorker:
    """Not a thread; `beat` starts one that synchronizes until `silence`, and then nothing else may."""

    def __init__(self, cluster, name, devices):
        from mantissa.v1 import worker_service_pb2_grpc
        self.cluster, self.name, self.devices = cluster, name, devices
        self.pb, self.job_pb = cluster.pb("worker_service"), cluster.pb("job")
        self.stub = worker_service_pb2_grpc.WorkerServiceStub(cluster.channel())
        self.session, self.number, self.revision = uuid.uuid4().hex, 0, 0
        self.held = {}  # job id -> AttemptReport
        self.quiet, self.thread = threading.Event(), None

    def report(self, attempts, number):
        """The request of a Synchronize with what it holds, or other attempts where they are given."""
        request = self.pb.SynchronizeRequest(worker_id=self.name, session_id=self.session, report_number=number,
                                             applied_revision=self.revision, features=FEATURES)
        for index in range(self.devices):
            request.devices.add(id=f"cpu-{index}", kind=self.job_pb.Device.CPU, cpu_threads=1)
        request.roots.add(name="checkpoints", storage_id=STORAGE, writable=True)
        request.attempts.extend(self.held.values() if attempts is None else attempts)
        request.max_hang.SetInParent()
        return request

    def synchronize(self, attempts=None):
        """One call, and what it asks for: new attempts run from here on, and what is not named is let go."""
        self.number += 1
        response = self.stub.Synchronize(self.report(attempts, self.number), timeout=5)
        self.revision = response.desired_revision
        named = {desired.ref.job_id: desired for desired in response.attempts
                 if desired.goal != self.pb.DesiredAttempt.FORGET}
        self.held = {job: report for job, report in self.held.items()
                     if job in named and named[job].ref.token == report.ref.token}
        for job, desired in named.items():
            if job not in self.held and desired.HasField("assignment"):
                self.held[job] = self.pb.AttemptReport(ref=desired.ref, state=self.job_pb.Attempt.RUNNING)
        return response

    def beat(self):
        def run():
            while not self.quiet.wait(0.3):
                self.synchronize()
        self.thread = threading.Thread(target=run)
        self.thread.start()

    def silence(self):
        self.quiet.set()
        if self.thread is not None:
            self.thread.join()

    # Every write that a worker can make for an attempt. Each says what came of it.

    def telemetry(self, ref, first, count):
        """Opens, and sends records; whether the lease was lost, each time."""
        pb = self.cluster.pb("telemetry")
        segment = pb.Segment(first_attempt_sequence=first, count=count)
        column = segment.records.columns.add(standard=pb.Column.ITERATION)
        column.integers.values.extend(range(first, first + count))
        requests = [self.pb.PublishTelemetryRequest(open=ref),
                    self.pb.PublishTelemetryRequest(attempt=ref, segments=[segment])]
        return [answer.lease_lost for answer in self._stream(self.stub.PublishTelemetry, requests)]

    def logs(self, ref, offset, data):
        stream = self.cluster.pb("job_service").LogStream.STDOUT
        requests = [self.pb.PublishLogsRequest(open=ref, stream=stream),
                    self.pb.PublishLogsRequest(attempt=ref, stream=stream, offset=offset, data=data)]
        return [answer.lease_lost for answer in self._stream(self.stub.PublishLogs, requests)]

    @staticmethod
    def _stream(method, requests):
        """An answer to each, asked one after another."""
        asked, queue = threading.Semaphore(1), iter(requests)

        def one_by_one():
            for request in queue:
                asked.acquire(timeout=10)
                yield request

        answers = []
        for answer in method(one_by_one(), timeout=10):
            answers.append(answer)
            asked.release()
            if len(answers) == len(requests):
                break
        return answers

    def commit(self, ref, step):
        name = f"attempt-{ref.attempt:04d}/step-{step:08d}"
        checkpoint = self.job_pb.Checkpoint(name=name, step=step, iteration=step, storage_id=STORAGE,
                                            path=f"{ref.job_id}/{name}", size_bytes=1, finite=True,
                                            manifest_sha256=hashlib.sha256(name.encode()).hexdigest())
        return self.stub.CommitCheckpoint(self.pb.CommitCheckpointRequest(ref=ref, checkpoint=checkpoint), timeout=5)

    def artifact(self, ref):
        """What an end of the attempt offers."""
        data = b"model of " + ref.job_id.encode()
        return self.job_pb.Artifact(name="model.safetensors", size_bytes=len(data),
                                    sha256=hashlib.sha256(data).hexdigest()), data

    def upload(self, ref):
        artifact, data = self.artifact(ref)
        return self.stub.UploadArtifact(iter([self.pb.UploadArtifactRequest(ref=ref, artifact=artifact, data=data)]),
                                        timeout=5)
