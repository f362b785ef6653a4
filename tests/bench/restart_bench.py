"""How soon a server serves that has a million jobs behind it and a thousand before it, and what it needs for that.

    restart_bench.py --bin DIR [--finished 1000000] [--live 1000] [--starts 7] [--database FOLDER]

--database keeps the database, whose making takes minutes, in a folder, or takes it from there.
"""
import argparse
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time

from many_jobs import multiply
from paired import emit
from service_processes import Service
from trainer_client import job_pb2
import grpc

from grpc_health.v1 import health_pb2, health_pb2_grpc
from mantissa.v1 import job_service_pb2, job_service_pb2_grpc

READINESS = "mantissa.v1.JobService"
PAGES = 200


def make(binaries, folder, finished, live):
    """Patterns by real programs: jobs that were trained, one that was cancelled, one that runs, and some that wait."""
    service = Service(binaries)
    try:
        def submit(number, iterations, placed=True):
            spec = job_pb2.JobSpec(name=f"digits-{number}")
            spec.training.model.mlp.hidden.append(128)
            spec.training.data.train.idx.images = "digits/train-images.idx"
            spec.training.data.train.idx.labels = "digits/train-labels.idx"
            spec.training.iterations = iterations
            spec.labels["team"] = f"team-{number}"
            if not placed:
                spec.resources.worker_selector["bench"] = "nowhere"
            request = job_service_pb2.SubmitJobRequest(spec=spec, request_id=f"pattern-{number}")
            return service.jobs.SubmitJob(request).id

        def wait(job_id, *states):
            while service.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id)).state not in states:
                time.sleep(0.02)

        for number in range(4):
            wait(submit(number, 20), job_pb2.Job.SUCCEEDED)
        cancelled = submit(4, 20, placed=False)
        service.jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=cancelled))
        for number in range(5, 9):
            submit(number, 20, placed=False)
        running = submit(9, 50_000_000)
        wait(running, job_pb2.Job.RUNNING)
        for process in (service.server, service.worker):  # so that it goes on running, as far as is written
            process.kill()
            process.wait()
        for file in (service.folder / "server").glob("mantissa.db*"):
            shutil.copy(file, folder)
    finally:
        service.close()
    multiply(folder / "mantissa.db", finished, live)


class Server:
    def __init__(self, binaries, folder):
        address = folder / "address"
        address.unlink(missing_ok=True)
        began = time.perf_counter()
        self.process = subprocess.Popen([binaries / "mantissa-server", "--listen", "127.0.0.1:0", "--metrics-listen",
                                         "127.0.0.1:0", "--data-dir", folder, "--address-file", address],
                                        stderr=subprocess.DEVNULL)
        while not address.exists():
            assert self.process.poll() is None, "the server does not start"
            time.sleep(0.001)
        self.channel = grpc.insecure_channel(address.read_text().split()[0])
        health = health_pb2_grpc.HealthStub(self.channel)
        while health.Check(health_pb2.HealthCheckRequest(service=READINESS), wait_for_ready=True).status != \
                health_pb2.HealthCheckResponse.SERVING:
            time.sleep(0.001)
        self.seconds = time.perf_counter() - began

    def memory_mib(self, which):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(which + ":"):
                return int(line.split()[1]) / 1024
        raise KeyError(which)

    def pages_ms(self, **request):
        """Of one page after another, from the newest job on."""
        jobs, token, took = job_service_pb2_grpc.JobServiceStub(self.channel), "", []
        for _ in range(PAGES):
            began = time.perf_counter()
            page = jobs.ListJobs(job_service_pb2.ListJobsRequest(page_token=token, **request))
            took.append(1e3 * (time.perf_counter() - began))
            token = page.next_page_token
            assert token, "there are more pages than that"
        return took

    def close(self):
        self.process.kill()
        self.process.wait()


def forget(folder):
    """The next start reads the database from the disk."""
    for file in folder.glob("mantissa.db*"):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=1_000)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--database", type=pathlib.Path)
    options = parser.parse_args()
    temporary = tempfile.TemporaryDirectory(prefix="mantissa-restart-")
    folder = options.database or pathlib.Path(temporary.name)
    folder.mkdir(exist_ok=True)
    if not (folder / "mantissa.db").exists():
        make(options.bin, folder, options.finished, options.live)
    database = sqlite3.connect(folder / "mantissa.db")
    ended, = database.execute("SELECT COUNT(*) FROM jobs WHERE state IN (7, 8, 9)").fetchone()
    live, = database.execute("SELECT COUNT(*) FROM jobs WHERE state NOT IN (0, 7, 8, 9)").fetchone()
    database.close()
    case = f"{ended}_finished_{live}_live"
    emit("restart", case, "database_gib", (folder / "mantissa.db").stat().st_size / 2**30, "GiB")
    for cache in ("cold", "warm"):
        seconds, resident, peak, pages = [], [], [], []
        for _ in range(options.starts):
            if cache == "cold":
                forget(folder)
            server = Server(options.bin, folder)
            seconds.append(server.seconds)
            resident.append(server.memory_mib("VmRSS"))
            pages += server.pages_ms()
            peak.append(server.memory_mib("VmHWM"))
            server.close()
        where = f"{case}_{cache}"
        emit("restart", where, "restart_to_serving_s", statistics.median(seconds), "s", max=round(max(seconds), 3),
             starts=options.starts)
        emit("restart", where, "rss_when_serving_mib", statistics.median(resident), "MiB")
        emit("restart", where, "rss_peak_after_listing_mib", max(peak), "MiB")
        emit("restart", where, "list_jobs_page_p50_ms", statistics.median(pages), "ms", pages=len(pages))
        emit("restart", where, "list_jobs_page_p99_ms", sorted(pages)[int(0.99 * (len(pages) - 1))], "ms")


main()
