"""Whatever is killed, stopped and cut off, in whatever order: once it is quiet everything comes to its end by itself.

MANTISSA_SECONDS: of blows (45; 120 and 600 by hand). MANTISSA_SEED: of the schedule; printed."""
import collections
import heapq
import os
import random
import signal
import time

import grpc

from blows import attempts_of, cancel, endless_job, kill, short_job, signal_all
from clients import AGAIN
from conftest import iterations, sequences, until, watch
from figures import tell
from link import Link

SECONDS = float(os.environ.get("MANTISSA_SECONDS", "45"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
HEALED = 60.0  # from the last blow to the end of every job
SHORT = 1_500
BACKLOG = 10  # of jobs that have not ended, or a slow machine would have the whole stream still before it


class Scene:
    """A server and three workers over links of their own, whoever deals the blows, and the supervisor that starts again
    what has ended. One thread."""

    def __init__(self, cluster):
        self.cluster, self.random = cluster, random.Random(SEED)
        self.links, self.due, self.serial = {}, [], 0
        self.hurt = set()  # what is down or out of reach until something that is due
        self.dealt = {}
        for name in ("ws-1", "ws-2", "ws-3"):
            self.links[name] = Link(cluster.address)
            cluster.start_worker(name, server=self.links[name].address)

    def later(self, seconds, what, *arguments):
        self.serial += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.serial, what, arguments))

    def turn(self):
        """Deals with what is due, and starts again what has ended."""
        while self.due and self.due[0][0] <= time.monotonic():
            _, _, what, arguments = heapq.heappop(self.due)
            what(*arguments)
        if "server" not in self.hurt and not self.cluster.server.running:
            self.cluster.start_server()
        for name, worker in self.cluster.workers.items():
            if name not in self.hurt and not worker.running:
                self.start_worker(name)

    def start_worker(self, name):
        self.hurt.discard(name)
        # Whether it finds the server is its own affair: the link may be cut, and the server away.
        self.cluster.launch_worker(name, server=self.links[name].address)

    def start_server(self):
        self.hurt.discard("server")
        self.cluster.start_server()

    def blow(self):
        """One at random, of those that are possible; what undoes it becomes due."""
        kind = self.random.choice(["server", "agent", "trainers", "stop", "stop agent", "cut", "silence"])
        name = self.random.choice(sorted(self.links))
        for_seconds = self.random.uniform(0.1, 5.0)
        target = {"server": "server", "cut": f"link of {name}", "silence": f"link of {name}"}.get(kind, name)
        if target in self.hurt:
            return
        self.dealt[kind] = self.dealt.get(kind, 0) + 1
        worker = self.cluster.workers[name]
        if kind == "trainers":
            return kill(self.cluster.trainer_pids(worker))
        self.hurt.add(target)
        if kind == "server":
            self.cluster.server.kill()
            self.later(for_seconds, self.start_server)
        elif kind == "agent":
            worker.kill()
            self.later(for_seconds, self.start_worker, name)
        elif kind in ("cut", "silence"):
            getattr(self.links[name], kind)()
            self.later(for_seconds, self.heal, name)
        else:
            pids = [worker.process.pid] if kind == "stop agent" else list(self.cluster.processes(worker))
            signal_all(pids, signal.SIGSTOP)
            self.later(for_seconds, self.wake, name, pids)

    def heal(self, name):
        self.hurt.discard(f"link of {name}")
        self.links[name].heal()

    def wake(self, name, pids):
        self.hurt.discard(name)
        signal_all(pids, signal.SIGCONT)

    def quiet(self):
        """Undoes what is still to be undone, at once."""
        self.due = [(0.0, serial, what, arguments) for _, serial, what, arguments in sorted(self.due)]
        self.turn()
        assert not self.hurt

    def close(self):
        for link in self.links.values():
            link.close()


class Stream:
    """Jobs that are submitted one after another, each until it is acknowledged."""

    def __init__(self, cluster):
        self.cluster, self.stub, self.pb = cluster, cluster.jobs(), cluster.pb("job_service")
        self.jobs, self.open, self.serial = [], collections.deque(), 0

    def submit(self):
        """Whether it was acknowledged; if not, the next call asks for the same once more."""
        try:
            self._forget_ended()
            return len(self.open) < BACKLOG and self._submit()
        except grpc.RpcError as error:
            assert error.code() in AGAIN, error
            return False

    def _forget_ended(self):
        while self.open:
            job = self.stub.GetJob(self.pb.GetJobRequest(job_id=self.open[0]), timeout=0.5)
            if job.state != self.cluster.pb("job").Job.SUCCEEDED:
                return
            self.open.popleft()

    def _submit(self):
        request = self.pb.SubmitJobRequest(spec=short_job(self.cluster, SHORT, checkpoint_every=300),
                                           request_id=f"short-{self.serial}")
        self.jobs.append(self.stub.SubmitJob(request, timeout=0.5).id)
        self.open.append(self.jobs[-1])
        self.serial += 1
        return True


def test_everything_comes_to_its_end_by_itself_once_it_is_quiet(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_SECONDS={SECONDS}")
    scene, stream = Scene(cluster), Stream(cluster)
    try:
        long = cluster.submit(endless_job(cluster, checkpoint_every=500)).id
        end = time.monotonic() + SECONDS
        next_blow, next_job = time.monotonic(), time.monotonic()
        while time.monotonic() < end:
            scene.turn()
            if time.monotonic() >= next_blow:
                scene.blow()
                next_blow = time.monotonic() + scene.random.uniform(0.2, 1.5)
            if time.monotonic() >= next_job and stream.submit():
                next_job = time.monotonic() + scene.random.uniform(0.2, 1.0)
            time.sleep(0.01)  # between looks at the clock
        scene.quiet()
        quiet = time.monotonic()
        check_ended(cluster, scene, stream, long, quiet)
    finally:
        scene.close()


def check_ended(cluster, scene, stream, long, quiet):
    states = cluster.pb("job").Job
    until(lambda: scene.turn() or all(cluster.get(job).state == states.SUCCEEDED for job in stream.jobs),
          "every short job has succeeded", HEALED)
    until(lambda: cluster.get(long).state == states.RUNNING, "the long one runs", HEALED)
    cluster.wait_iteration(long, cluster.get(long).progress.iteration + 500)
    healed = round(time.monotonic() - quiet, 1)
    cancel(cluster, long)
    attempts, tails_lost = 0, 0
    for job in [long, *stream.jobs]:
        _, segments = watch(cluster, job)
        numbers, history = sequences(segments), iterations(cluster, segments)
        assert numbers == list(range(1, len(numbers) + 1)), job
        assert all(before < after for before, after in zip(history, history[1:])), "attempts and iterations only grow"
        attempts += len(attempts_of(cluster, job))
        if job != long and history[-1][1] != SHORT:
            # An agent that is killed takes with it what it had not sent, and it is said to be missing.
            assert any(segment.HasField("gap") for segment in segments), job
            tails_lost += 1
    blows = ", ".join(f"{count} {kind}" for kind, count in sorted(scene.dealt.items()))
    print(f"blows: {blows}")
    tell(1, SEED, blows=(sum(scene.dealt.values()), "1"), jobs=(len(stream.jobs) + 1, "1"), attempts=(attempts, "1"),
         tails_lost=(tails_lost, "1"), stuck=(0, "1"), healed=(healed, "s"))
    assert len(stream.jobs) > 0 and attempts > len(stream.jobs) + 1, "or the blows have hit nothing"
