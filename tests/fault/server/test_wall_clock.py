"""Clocks that somebody sets while jobs run: two hours forward, two hours back, the server's and then the worker's. Leases
and limits are of the clock that nobody sets, so nothing comes of it but odd dates. libfaketime stands between a program
and its wall clock; what waits on that clock beneath it, in gRPC, waits as after a clock that was set the other way."""
import datetime
import json
import pathlib
import re
import time
import urllib.request

import pytest

from conftest import Cluster, closing, until
from figures import tell

# Not the shipped one: its malloc asks for the time before libfaketime is ready to tell it.
SERVER = "mantissa-server-faults"
LIBRARY = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
LEASE = 3
STEPS = (7200, -7200)


class WallClock:
    """Of one program and those that it starts."""

    def __init__(self, file):
        self.file = file
        self.set(0)

    def set(self, seconds):
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self.file)

    @property
    def variables(self):
        return {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


@pytest.fixture
def clocks(tmp_path):
    return WallClock(tmp_path / "server-clock"), WallClock(tmp_path / "worker-clock")


@pytest.fixture
def stepped(tmp_path, clocks):
    with closing(Cluster(tmp_path)) as it:
        it.start_server(SERVER, **clocks[0].variables)
        it.start_worker(**clocks[1].variables)
        yield it


def last_log_time(program):
    """In seconds since 1970, by the program's own clock."""
    line = json.loads(program.log_text().splitlines()[-1])
    return datetime.datetime.fromisoformat(line["ts"]).timestamp()


def lease_expiries(cluster):
    with urllib.request.urlopen(f"http://{cluster.metrics}/metrics", timeout=10) as answer:
        return float(re.search(r"^mantissa_lease_expiries_total (\S+)$", answer.read().decode(), re.MULTILINE).group(1))


def test_clocks_that_are_set_end_no_lease_and_no_job(stepped, clocks):
    limited = stepped.digits(iterations=50_000_000)
    limited.timeouts.total.seconds = limited.timeouts.attempt.seconds = 3600
    job = stepped.submit(limited)
    waits = stepped.digits(iterations=50_000_000)
    waits.timeouts.queue.seconds = 3600
    waits.resources.worker_selector["nobody"] = "has"
    waiting = stepped.submit(waits)
    stepped.wait_iteration(job.id, 50)

    def go_on_for_two_leases():
        since, before = time.monotonic(), stepped.get(job.id).progress.iteration
        until(lambda: time.monotonic() > since + 2 * LEASE, "two leases have passed")
        assert stepped.get(job.id).progress.iteration > before

    probe = stepped.digits(iterations=1)
    probe.resources.worker_selector["nobody"] = "has"
    for seconds in STEPS:
        clocks[0].set(seconds)
        until(lambda: abs(stepped.submit(probe).create_time.seconds - time.time() - seconds) < 300,
              f"the server's clock is {seconds} s off")
        go_on_for_two_leases()
    clocks[0].set(0)
    for seconds in STEPS:
        clocks[1].set(seconds)
        go_on_for_two_leases()

    assert stepped.get(waiting.id).state == stepped.pb("job").Job.QUEUED
    running = stepped.get(job.id)
    assert (running.state, running.attempt) == (stepped.pb("job").Job.RUNNING, 1), running.state_message
    expiries = lease_expiries(stepped)
    tell(len(STEPS), None, lease_expiries=(expiries, "1"), attempts=(running.attempt, "1"))
    assert expiries == 0
    stepped.cli("cancel", job.id)
    stepped.wait_state(job.id, "CANCELLED")
    until(lambda: "attempt ended" in stepped.workers["ws-1"].log_text(), "the worker says so")
    assert abs(last_log_time(stepped.workers["ws-1"]) - time.time() - STEPS[-1]) < 300, "its clock was set, too"
