"""Clients that never let up, and keep what they were told."""
from clients import Client
from conftest import iterations
from invariants import History


class Witness(Client):
    """Keeps what it was told."""

    def __init__(self, cluster, name, seed):
        super().__init__(cluster, name, seed)
        self.history = History()


class Submitter(Witness):
    """Submits batches of jobs that nobody runs; repeats some of them, asks for others with another body, cancels a few,
    and looks again at what has ended. All of them end by themselves, so that a start has not all of them to load."""

    def __init__(self, cluster, name, seed, batch):
        super().__init__(cluster, name, seed)
        self.request, self.other = self.pb.SubmitJobsRequest(), self.pb.SubmitJobsRequest()
        for _ in range(batch):
            spec = self.request.specs.add()
            spec.training.model.mlp.hidden.append(8)
            spec.training.data.train.synthetic.samples = 64
            spec.resources.worker_selector["never"] = "placed"
            spec.timeouts.queue.nanos = 300_000_000
        self.other.CopyFrom(self.request)
        self.other.specs[-1].training.data.train.synthetic.samples = 65
        self.serial, self.repeated, self.shown = 0, 0, []

    def once(self):
        self.serial += 1
        request_id = f"{self.name}-{self.serial}"
        answer = self.submit(request_id)
        if answer is None:
            return
        self.repeated += self.tries > 1
        kind = self.random.random()
        if kind < 0.15:
            self.submit(request_id)
        elif kind < 0.3:
            self.other.request_id = request_id
            answered = self.ask(self.jobs.SubmitJobs, self.other, "INVALID_ARGUMENT")
            if answered is not None:
                self.history.changed_answered(request_id, answered if isinstance(answered, str) else "OK")
        ids = [outcome.job.id for outcome in answer.outcomes]
        self.shown = self.shown[-64:] + self.random.sample(ids, 2)
        for job_id in self.random.sample(ids, 2):
            self.look(self.jobs.CancelJob, self.pb.CancelJobRequest(job_id=job_id))
        self.look(self.jobs.GetJob, self.pb.GetJobRequest(job_id=self.random.choice(self.shown)))

    def submit(self, request_id):
        self.request.request_id = request_id
        answer = self.ask(self.jobs.SubmitJobs, self.request)
        if answer is not None:
            self.history.answered(request_id, [outcome.job.id for outcome in answer.outcomes])
        return answer

    def look(self, method, request):
        # A job that has ended meanwhile is not cancelled any more.
        job = self.ask(method, request, "FAILED_PRECONDITION")
        if job is not None and not isinstance(job, str):
            self.history.saw(job)


class Trainee(Witness):
    """Submits jobs that are trained, one after another; waits for each, and reads its records, once and in order."""

    def __init__(self, cluster, name, seed, iterations):
        super().__init__(cluster, name, seed)
        self.spec = cluster.digits(iterations=iterations)
        self.serial, self.ended = 0, 0

    def once(self):
        self.serial += 1
        job = self.ask(self.jobs.SubmitJob,
                       self.pb.SubmitJobRequest(spec=self.spec, request_id=f"{self.name}-{self.serial}"))
        if job is None:
            return
        self.history.answered(f"{self.name}-{self.serial}", [job.id])
        while job is not None and not job.HasField("end_time"):
            self.stopping.wait(0.05)
            job = self.ask(self.jobs.GetJob, self.pb.GetJobRequest(job_id=job.id))
        if job is None:
            return
        assert job.state == self.cluster.pb("job").Job.SUCCEEDED, job
        self.history.saw(job)
        request = self.pb.WatchJobRequest(job_id=job.id)
        frames = self.ask(lambda *what, **how: list(self.jobs.WatchJob(*what, **how)), request)
        if frames is None:
            return
        records = iterations(self.cluster, [segment for frame in frames for segment in frame.segments])
        for (attempt, number), (next_attempt, next_number) in zip(records, records[1:]):
            assert next_attempt > attempt or (next_attempt, next_number) == (attempt, number + 1), (job.id, records)
        assert records[-1] == (job.attempt, self.spec.training.iterations), (job.id, records)
        self.ended += 1
