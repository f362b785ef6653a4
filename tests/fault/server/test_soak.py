"""Jobs, watchers and connections come and go at a low rate, for as long as one likes: server and agent keep neither
memory, nor files, nor rows of what has gone.

Now and then everything rests: no job, no watcher, and time for the allocator to give back what it has no use for. What a
program has then is what it keeps. (While it works, its memory swings by how many watchers happen to be there at once;
the slope of that is told, too, and says little.)

MANTISSA_SECONDS: of churn (40; 7200 by hand, niced). MANTISSA_SEED: of the churn; printed. Memory is judged in runs of
an hour and more only: in less the warm-up is all there is."""
import os
import random
import statistics
import threading
import time

import grpc
import pytest

from blows import endless_job, short_job
from conftest import Cluster, closing, until
from figures import tell
from invariants import SqliteRows

SECONDS = float(os.environ.get("MANTISSA_SECONDS", "40"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
WARM_UP = 0.2  # of the churn
LONG_RUN = 3600.0
MIB_PER_HOUR = 1.0
KEPT_JOBS = 8
RUNNING_JOBS = 4  # at most, or a busy machine would fall behind for ever
SAMPLE_SECONDS = 5.0
# The first ends the warm-up.
RESTS = 12 if SECONDS >= LONG_RUN else 2
# jemalloc purges what is not used within ten seconds of its end.
REST_SECONDS = 25.0 if SECONDS >= LONG_RUN else 2 * SAMPLE_SECONDS


class Samples(threading.Thread):
    """Resident memory of programs, every few seconds: what is their own. Pages of files come and go as the machine likes."""

    def __init__(self, programs):
        super().__init__(daemon=True)
        self.programs, self.stopped = programs, threading.Event()
        self.of = {program.name: [] for program in programs}  # (seconds, MiB)
        self.at_rest = {program.name: [] for program in programs}  # the least of each rest

    def run(self):
        begun, told = time.monotonic(), 0.0
        while not self.stopped.wait(SAMPLE_SECONDS):
            at = time.monotonic() - begun
            for program in self.programs:
                self.of[program.name].append((at, resident_mib(program.process.pid)))
            if at - told >= 60.0:
                told = at
                now = "  ".join(f"{name} {of[-1][1]:.2f} MiB" for name, of in self.of.items())
                print(f"{at:6.0f} s  {now}", flush=True)

    def stop(self):
        self.stopped.set()
        self.join()

    def rest(self):
        """While nothing is asked of the programs."""
        begun = {name: len(of) for name, of in self.of.items()}
        until(lambda: all(of and of[-1][0] - of[min(begun[name], len(of) - 1)][0] >= REST_SECONDS
                          for name, of in self.of.items()), "a rest", seconds=10 * REST_SECONDS + 60)
        for name, of in self.of.items():
            self.at_rest[name].append(min(of[begun[name]:], key=lambda sample: sample[1]))

    def swinging(self, name):
        """MiB per hour of all samples after the warm-up, by least squares."""
        return slope([sample for sample in self.of[name] if sample[0] >= WARM_UP * SECONDS])


def slope(samples):
    """MiB per hour, by least squares."""
    return 3600.0 * statistics.linear_regression(*zip(*samples)).slope if len(samples) > 1 else 0.0


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024


def open_files(program):
    """But for connections to the database: a bounded pool, which gets fuller whenever more than ever read at once."""
    folder, count = f"/proc/{program.process.pid}/fd", 0
    for descriptor in os.listdir(folder):
        try:
            count += "/mantissa.db" not in os.readlink(f"{folder}/{descriptor}")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


class Churn:
    """One thread that asks; a thread for each watcher, on a connection of its own, which goes with it."""

    def __init__(self, cluster):
        self.cluster, self.random = cluster, random.Random(SEED)
        self.stub, self.pb = cluster.jobs(), cluster.pb("job_service")
        self.submitted, self.cancelled, self.deleted, self.watches = 0, 0, 0, 0
        self.ended, self.open, self.endless = [], [], set()
        self.watchers, self.faults = [], []

    def turn(self):
        self.forget_ended()
        if len(self.open) < RUNNING_JOBS:
            self.submit()
        for _ in range(self.random.randint(0, 3)):
            self.watch(self.random.choice(self.open + self.ended[-3:]))
        listed = self.stub.ListJobs(self.pb.ListJobsRequest(page_size=50)).jobs
        assert listed, "jobs are there"
        if self.ended:
            self.read(self.random.choice(self.ended[-3:]))
        # A deletion also makes the server look for what retention no longer keeps; else it does once a minute.
        if len(self.ended) > 3 and self.random.random() < 0.1:
            self.delete(self.ended.pop(0))

    def submit(self):
        if self.random.random() < 0.2:
            spec = endless_job(self.cluster)
        else:
            spec = short_job(self.cluster, self.random.randint(10, 400), checkpoint_every=100)
        spec.name = f"churn-{self.submitted % 7}"
        job = self.stub.SubmitJob(self.pb.SubmitJobRequest(spec=spec))
        self.submitted += 1
        self.open.append(job.id)
        if spec.training.iterations > 1000:
            self.endless.add(job.id)

    def forget_ended(self):
        states = self.cluster.pb("job").Job
        for job_id in list(self.open):
            job = self.stub.GetJob(self.pb.GetJobRequest(job_id=job_id))
            if job.HasField("end_time"):
                assert job.state == (states.CANCELLED if job_id in self.endless else states.SUCCEEDED), job
                self.open.remove(job_id)
                self.ended.append(job_id)
                self.endless.discard(job_id)
            elif job_id in self.endless and job.progress.iteration > 0:
                self.stub.CancelJob(self.pb.CancelJobRequest(job_id=job_id))
                self.cancelled += 1
        del self.ended[:-(KEPT_JOBS - RUNNING_JOBS)]  # the older ones may be pruned any time

    def read(self, job_id):
        self.stub.QueryHistory(self.pb.QueryHistoryRequest(job_id=job_id))
        self.stub.ListEvents(self.pb.ListEventsRequest(job_id=job_id))
        self.stub.ListAttempts(self.pb.ListAttemptsRequest(job_id=job_id))

    def delete(self, job_id):
        self.stub.DeleteJob(self.pb.DeleteJobRequest(job_id=job_id))
        self.deleted += 1

    def watch(self, job_id):
        frames = self.random.choice([1, 3, 10, 1_000_000])
        all_jobs = self.random.random() < 0.2
        self.watchers = [watcher for watcher in self.watchers if watcher.is_alive()]
        watcher = threading.Thread(target=self.follow, args=(job_id, frames, all_jobs))
        watcher.start()
        self.watchers.append(watcher)
        self.watches += 1

    def follow(self, job_id, frames, all_jobs):
        """Reads some frames, or to the end; leaves as a client does that is killed."""
        with grpc.insecure_channel(self.cluster.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = type(self.stub)(channel)
            if all_jobs:
                call, frames = stub.WatchJobs(self.pb.WatchJobsRequest(), timeout=30), min(frames, 10)
            else:
                call = stub.WatchJob(self.pb.WatchJobRequest(job_id=job_id), timeout=30)
            try:
                for number, _ in enumerate(call, 1):
                    if number >= frames:
                        break
            except grpc.RpcError as error:
                # A job may be pruned while it is watched, and a watch of all jobs may outlast the patience.
                if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DEADLINE_EXCEEDED):
                    self.faults.append(error)
            call.cancel()

    def rest(self):
        """Until everything that was begun has ended."""
        until(lambda: self.forget_ended() or not self.open, "every job has ended")
        for watcher in self.watchers:
            watcher.join()
        assert not self.faults, self.faults

    def go_on(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end or self.submitted <= KEPT_JOBS:
            self.turn()
            time.sleep(self.random.uniform(0.5, 1.5))  # the rate of the churn
        self.rest()


@pytest.fixture
def pruned_cluster(tmp_path):
    """A server that keeps few jobs, and a worker."""
    with closing(Cluster(tmp_path)) as it:
        it.start_server(MANTISSA_RETENTION_JOBS=str(KEPT_JOBS))
        it.start_worker()
        yield it


def test_nothing_grows_while_jobs_and_watchers_come_and_go(pruned_cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_SECONDS={SECONDS}", flush=True)
    cluster, churn = pruned_cluster, Churn(pruned_cluster)
    programs = [cluster.server, cluster.workers["ws-1"]]
    samples = Samples(programs)
    samples.start()
    churn.go_on(WARM_UP * SECONDS)
    samples.rest()
    files = {program.name: open_files(program) for program in programs}
    for _ in range(RESTS - 1):
        churn.go_on((1 - WARM_UP) * SECONDS / (RESTS - 1))
        samples.rest()
    samples.stop()

    slopes = {program.name: slope(samples.at_rest[program.name]) for program in programs}
    figures = {}
    for program in programs:
        name = "agent" if program.name == "ws-1" else program.name
        figures[f"{name}_anonymous_rss_slope_at_rest"] = (round(slopes[program.name], 3), "MiB/h")
        figures[f"{name}_anonymous_rss_slope"] = (round(samples.swinging(program.name), 3), "MiB/h")
        figures[f"{name}_anonymous_rss_at_rest"] = (round(samples.at_rest[program.name][-1][1], 1), "MiB")
        print(program.name, "at rest:", *(f"{mib:.2f}" for _, mib in samples.at_rest[program.name]), "MiB", flush=True)
    tell(1, SEED, seconds=(SECONDS, "s"), jobs=(churn.submitted, "1"), cancelled=(churn.cancelled, "1"),
         watches=(churn.watches, "1"), **figures)
    for program in programs:
        until(lambda: open_files(program) <= files[program.name], f"{program.name} holds {files[program.name]} files")
    # One more deletion, and retention is seen to.
    churn.delete(churn.ended.pop())
    rows = SqliteRows(cluster.folder / "server/mantissa.db")
    count = lambda table: next(iter(rows(f"SELECT COUNT(DISTINCT job_id) FROM {table}")))[0]
    for table in ("telemetry", "attempts", "checkpoints"):
        until(lambda: count(table) <= KEPT_JOBS, f"{table} of at most {KEPT_JOBS} jobs")
    if SECONDS >= LONG_RUN:
        assert all(slope <= MIB_PER_HOUR for slope in slopes.values()), slopes
