"""Watchers who open a watch and never read it: what they cost the server's memory, and that nobody else misses an entry.
What they cost in time is measured by tests/bench/run.sh fanout."""
import threading
import urllib.request

import grpc
import pytest

from blows import cancel, endless_job
from conftest import until
from figures import tell
from invariants import SqliteRows
from test_live_stream import check_once_and_in_order

STALLED = 200
MOST_MIB = {4: 16.0, STALLED: 64.0}  # by connections
# Iterations: they fill any window a stalled watcher may have. And what it is sent first has been put together in a chunk
# of the store by then, which it has for itself alone; what is in the ring is everybody's.
FAR = 10_000


class Reader(threading.Thread):
    """Reads to the end."""

    def __init__(self, cluster, job_id):
        super().__init__()
        self.frames = []
        self.call = cluster.jobs().WatchJob(cluster.pb("job_service").WatchJobRequest(job_id=job_id))

    def run(self):
        for frame in self.call:
            self.frames.append(frame)


class Stalled:
    """They are told that the watch stands, and never ask for a frame of it."""

    def __init__(self, cluster, job_id, connections):
        from mantissa.v1 import job_service_pb2_grpc
        request = cluster.pb("job_service").WatchJobRequest(job_id=job_id)
        # A window that grows with the bandwidth, as it would, holds seconds of a job's records: they would be sent.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        self.channels = [grpc.insecure_channel(cluster.address, options=options) for _ in range(connections)]
        stubs = [job_service_pb2_grpc.JobServiceStub(channel) for channel in self.channels]
        self.calls = [stubs[i % connections].WatchJob(request, wait_for_ready=True) for i in range(STALLED)]

    def close(self):
        for channel in self.channels:
            channel.close()


def resident_mib(program):
    with open(f"/proc/{program.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def metric(cluster, name):
    with urllib.request.urlopen(f"http://{cluster.metrics}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def has_chunk(cluster, job):
    rows = SqliteRows(cluster.folder / "server/mantissa.db")
    return bool(list(rows(f"SELECT 1 FROM telemetry WHERE job_id = '{job}' AND substr(segments, 1, 1) = x'00'")))


def watchers(cluster):
    return metric(cluster, "mantissa_watchers")


@pytest.mark.parametrize("connections", MOST_MIB)
def test_two_hundred_stalled_watchers_cost_little_and_nobody_misses_an_entry(cluster, connections):
    cluster.start_worker()
    job = cluster.submit(endless_job(cluster)).id
    reader = Reader(cluster, job)
    reader.start()
    cluster.wait_iteration(job, FAR)  # buffers and caches have what they want
    until(lambda: has_chunk(cluster, job), "the first records are in a chunk")
    before = resident_mib(cluster.server)
    stalled = Stalled(cluster, job, connections)
    try:
        until(lambda: watchers(cluster) == STALLED + 1, "all of them watch")
        cluster.wait_iteration(job, cluster.get(job).progress.iteration + FAR)
        more = resident_mib(cluster.server) - before
        assert watchers(cluster) == STALLED + 1, "they still watch"
        sent, told = metric(cluster, "mantissa_telemetry_entries_sent_total"), cluster.get(job).progress.iteration
        assert sent < told * STALLED / 2, "or they were sent what they did not read"
    finally:
        stalled.close()
    until(lambda: watchers(cluster) == 1, "they have gone")
    cancel(cluster, job)
    reader.join()
    assert reader.frames[-1].end
    records = check_once_and_in_order(cluster, reader.frames)
    tell(1, None, stalled=(STALLED, "1"), connections=(connections, "1"), records=(records, "1"),
         more_resident=(round(more, 1), "MiB"))
    assert more <= MOST_MIB[connections]
