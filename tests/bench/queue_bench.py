"""A long queue of the shortest jobs through one real worker with a real trainer: jobs a second and device, and how long
the device stands between two of them. All are submitted before the worker starts; the first and last tenth do not count.

Every job does all that a job promises: its final checkpoint is durable, its telemetry, end and artifacts are stored.

The gap is from the last that the trainer says of one job (its checkpoint is saved) to the first that it says of the next
(it is about to step), by the trainer's clock: the way over agent and server and back, and the next one's data and model.

    queue_bench.py --bin DIR [--jobs 2000]
"""
import argparse
import pathlib
import statistics
import time

from paired import emit
from service_processes import Service, cpu_seconds, fdatasync_ms
from trainer_client import job_pb2

from mantissa.v1 import job_service_pb2

BATCH = 500


def shortest():
    spec = job_pb2.JobSpec(name="bench")
    spec.training.model.mlp.hidden.append(8)
    spec.training.data.train.synthetic.samples = 64
    spec.training.iterations = 1
    spec.resources.device = job_pb2.ResourceSpec.CPU
    return spec


def seconds(timestamp):
    return timestamp.seconds + 1e-9 * timestamp.nanos


def submit(service, jobs):
    ids = []
    while len(ids) < jobs:
        request = job_service_pb2.SubmitJobsRequest(specs=[shortest()] * min(BATCH, jobs - len(ids)))
        ids += [outcome.job.id for outcome in service.jobs.SubmitJobs(request).outcomes]
    return ids


def run_all(service, ids):
    """Until all have succeeded; CPU seconds that server and worker took for it, its launcher and trainer apart."""
    before = [cpu_seconds(process.pid) for process in (service.server, service.worker)]
    for job_id in ids:
        while service.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id)).state != job_pb2.Job.SUCCEEDED:
            time.sleep(0.05)
    after = [cpu_seconds(process.pid) for process in (service.server, service.worker)]
    return [b - a for a, b in zip(before, after)]


def told(service, job_id):
    """When the trainer said that it starts, and that its checkpoint is saved."""
    began = saved = None
    for segment in service.jobs.ListEvents(job_service_pb2.ListEventsRequest(job_id=job_id)).events:
        if segment.event.HasField("started"):
            began = seconds(segment.event.time)
        elif segment.event.HasField("checkpoint"):
            saved = seconds(segment.event.time)
    return began, saved


def measure(binaries, jobs, on):
    case = f"{jobs}_jobs_on_{on}"
    emit("queue", case, "fdatasync_ms_p50", fdatasync_ms(on), "ms")
    service = Service(binaries, worker=False, on=on)
    ids = submit(service, jobs)
    service.start_worker()
    cpu = run_all(service, ids)
    times = sorted(told(service, job_id) for job_id in ids)
    steady = times[len(times) // 10 : len(times) - len(times) // 10]
    rate = (len(steady) - 1) / (steady[-1][0] - steady[0][0])
    gaps = [1e3 * (after[0] - before[1]) for before, after in zip(steady, steady[1:])]
    runs = [1e3 * (saved - began) for began, saved in steady]
    emit("queue", case, "jobs_per_s", rate, "1/s")
    for metric, values in (("gap_ms", gaps), ("run_ms", runs)):
        emit("queue", case, f"{metric}_p50", statistics.median(values), "ms")
        emit("queue", case, f"{metric}_p99", sorted(values)[int(0.99 * (len(values) - 1))], "ms")
    for program, spent in zip(("server", "agent"), cpu):
        emit("queue", case, f"{program}_cpu_ms_per_job", 1e3 * spent / jobs, "ms")
    service.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=2000)
    options = parser.parse_args()
    for on in ("disk", "memory"):
        measure(options.bin, options.jobs, on)


main()
