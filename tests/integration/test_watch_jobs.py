"""All jobs watched at once: by a client that is not ours, over a restart of the server, and by `mantissa top`."""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading

import grpc
import pytest
from conftest import BIN, until


class JobsWatcher:
    """Follows WatchJobs in a thread, watches again when the server goes, and keeps what it was told of each job."""

    def __init__(self, cluster):
        self.cluster, self.jobs, self.history, self.began = cluster, {}, {}, 0
        self.errors, self.stopped, self.call = [], threading.Event(), None
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self):
        stub, state = self.cluster.jobs(), self.cluster.pb("job").Job.State
        while not self.stopped.is_set():
            try:
                self.call = stub.WatchJobs(self.cluster.pb("job_service").WatchJobsRequest(), wait_for_ready=True)
                first = True
                for frame in self.call:
                    self.began += first
                    first = False
                    for job in frame.jobs:
                        self.jobs[job.id] = job
                        self.history.setdefault(job.id, []).append((state.Name(job.state), job.progress.iteration))
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    self.errors.append(error)
                    return

    def states(self, job_id):
        """The states it was told of a job, each once, in order."""
        states = [state for state, _ in self.history.get(job_id, [])]
        return [state for i, state in enumerate(states) if i == 0 or states[i - 1] != state]

    def stop(self):
        self.stopped.set()
        self.call.cancel()
        self.thread.join(timeout=30)
        assert not self.errors and not self.thread.is_alive()


@pytest.fixture
def watcher(cluster):
    it = JobsWatcher(cluster)
    yield it
    it.stop()


def test_a_client_sees_every_job_reach_its_end_over_a_restart_of_the_server(cluster, watcher):
    until(lambda: watcher.began == 1, "the first frame comes without any job")
    # The first would train for longer than any test waits, however fast the machine is.
    running, *waiting = (cluster.submit(cluster.digits(iterations=count)).id for count in (100_000_000, 200, 200))
    until(lambda: len(watcher.jobs) == 3, "the submitted jobs are seen")
    cluster.start_worker()
    until(lambda: any(state == "RUNNING" and iteration > 100 for state, iteration in watcher.history[running]),
          "the first job is seen to run and to get on")
    assert [watcher.states(job) for job in waiting] == [["QUEUED"], ["QUEUED"]]
    cluster.server.kill()
    cluster.start_server()
    until(lambda: watcher.began == 2, "the watch begins anew")
    cancelled = cluster.submit(cluster.digits(iterations=100_000)).id
    until(lambda: cancelled in watcher.jobs, "a job that came later is seen")
    ends = {running: "CANCELLED", cancelled: "CANCELLED", **{job: "SUCCEEDED" for job in waiting}}
    for job in (cancelled, running):
        cluster.jobs().CancelJob(cluster.pb("job_service").CancelJobRequest(job_id=job))
    until(lambda: all(watcher.states(job)[-1] == end for job, end in ends.items()), "every job is seen to end", seconds=180)
    for job, end in ends.items():
        states = watcher.states(job)
        assert states.count(end) == 1, states
    for job in waiting:
        assert watcher.jobs[job].result.iterations == watcher.jobs[job].progress.total_iterations
    cluster.jobs().DeleteJob(cluster.pb("job_service").DeleteJobRequest(job_id=cancelled))
    until(lambda: watcher.jobs[cancelled].state == 0, "the deletion is told")


def test_top_shows_a_live_server_once_and_as_json(cluster):
    cluster.start_worker()
    running = cluster.submit(cluster.digits(iterations=1_000_000))
    waiting = cluster.submit(cluster.digits(iterations=10))
    cluster.wait_iteration(running.id, 50)
    result = cluster.cli("top", "--once")
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    head, rest = result.stdout.split("\n", 1)
    assert head.startswith(f"mantissa {cluster.address}   1 running, 1 queued")
    assert "/1000000" in rest and waiting.id[:10] in rest and "\x1b" not in result.stdout
    assert any(line.startswith("ws-1 ") and "busy" in line and line.endswith("digits") for line in rest.splitlines())
    document = json.loads(cluster.cli("top", "-o", "json").stdout)
    assert [job["id"] for job in document["running"]] == [running.id]
    assert [job["id"] for job in document["waiting"]] == [waiting.id]
    assert document["jobs"] == {"RUNNING": 1, "QUEUED": 1}
    assert document["workers"][0]["id"] == "ws-1" and document["running"][0]["progress"]["iteration"] >= 50
    assert document["running"][0]["progress"]["worker_id"] == "ws-1"


class Terminal:
    """`mantissa top` on a terminal of its own, and everything that it wrote there."""

    def __init__(self, cluster):
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.slave = slave
        self.resize(70)
        self.found = termios.tcgetattr(slave)
        environment = {**os.environ, "MANTISSA_ADDRESS": cluster.address, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        # The terminal is the program's own, as a shell would give it. No code of ours between fork and exec: this process
        # has gRPC's threads, and what they had locked would stay so in the child.
        self.process = subprocess.Popen(["setsid", "--ctty", str(BIN / "mantissa"), "top"], stdin=slave, stdout=slave,
                                        stderr=slave, env=environment)
        self.text = ""

    def shows(self, text):
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace")
        return text in self.text

    def resize(self, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    def press(self, keys):
        os.write(self.master, keys.encode())

    def leaves(self):
        """Its exit code; the terminal is as it was found."""
        until(lambda: self.shows("\x1b[?1049l") and self.process.poll() is not None, "top leaves")
        assert self.text.startswith("\x1b[?1049h") and self.text.rstrip().endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(self.slave) == self.found
        return self.process.returncode

    def close(self):
        print(self.text[-2000:])  # the last it showed, for whoever reads of a failure
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(cluster):
    opened = []

    def start():
        opened.append(Terminal(cluster))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_top_on_a_terminal_follows_until_q_or_ctrl_c_and_gives_the_terminal_back(cluster, terminal):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=1_000_000))
    first, second = terminal(), terminal()
    for top in (first, second):
        until(lambda top=top: top.shows("1 running") and top.shows("/1000000"), "the job is drawn")
    assert not first.shows("SAMPLES/S"), "there is no room for it"
    first.resize(160)
    until(lambda: first.shows("SAMPLES/S"), "a wider terminal is made use of")
    cluster.jobs().CancelJob(cluster.pb("job_service").CancelJobRequest(job_id=job.id))
    until(lambda: first.shows("CANCELLED"), "the end of the job is drawn")
    first.press("x")
    first.press("q")
    assert first.leaves() == 0
    second.press("\x03")
    assert second.leaves() == 130


def test_top_waits_for_a_server_that_went_away(cluster, terminal):
    top = terminal()
    until(lambda: top.shows("no job runs or waits"), "an empty server is drawn")
    cluster.server.kill()
    until(lambda: top.shows("trying again"), "the loss is said")
    cluster.start_server()
    cluster.submit(cluster.digits())
    until(lambda: top.shows("1 queued"), "what came after it is drawn")
    top.process.send_signal(signal.SIGTERM)
    assert top.leaves() == 130
