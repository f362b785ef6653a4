"""HyperQueue's figures for what queue_bench.py and dispatch_bench.py measure of us, on this machine: tasks a second of one
worker with one core, and submit -> start of one task. Its tasks are processes that do nothing; it stores nothing durably.

    python3 -m venv VENV && VENV/bin/pip install hyperqueue && VENV/bin/python tests/bench/peer_queue.py [--tasks 2000]
"""
import argparse
import pathlib
import statistics
import tempfile
import time
from importlib import metadata

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

from paired import emit


def add_clock(job, told):
    """A task that writes down when it runs."""
    job.program(["date", "+%s.%N"], stdout=told)


def start_ms(client, folder):
    job = Job()
    add_clock(job, folder / "told")
    began = time.time()
    submitted = client.submit(job)
    client.wait_for_jobs([submitted])
    return 1e3 * (float((folder / "told").read_text()) - began)


def tasks_per_s(client, folder, tasks):
    """Between two that write the time down: waiting for a job looks once a second only."""
    job = Job()
    add_clock(job, folder / "first")
    for _ in range(tasks):
        job.program(["/bin/true"], stdout=None, stderr=None)
    add_clock(job, folder / "last")
    client.wait_for_jobs([client.submit(job)])
    return tasks / (float((folder / "last").read_text()) - float((folder / "first").read_text()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--starts", type=int, default=40)
    options = parser.parse_args()
    peer = "hyperqueue " + metadata.version("hyperqueue")
    with tempfile.TemporaryDirectory() as name, LocalCluster(worker_config=WorkerConfig(cores=1)) as cluster:
        client, folder = cluster.client(), pathlib.Path(name)
        tasks_per_s(client, folder, 50)
        rates = [tasks_per_s(client, folder, options.tasks) for _ in range(options.repeats)]
        starts = [start_ms(client, folder) for _ in range(options.starts)]
    emit("queue", "one_core", "tasks_per_s", statistics.median(rates), "1/s", peer=peer)
    emit("dispatch", "one_core", "submit_to_start_ms_p50", statistics.median(starts), "ms", peer=peer)


if __name__ == "__main__":
    main()
