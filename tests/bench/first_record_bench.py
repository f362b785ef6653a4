"""From sending SubmitJob to the first record of its training at a watcher, with a warm trainer waiting.

    first_record_bench.py --bin DIR [--jobs 50]
"""
import argparse
import pathlib
import statistics
import time

from paired import emit
from service_processes import Service
from trainer_client import job_pb2

from mantissa.v1 import job_service_pb2


def digits(iterations):
    spec = job_pb2.JobSpec(name="bench")
    spec.training.model.mlp.hidden.append(128)
    spec.training.data.train.idx.images = "digits/train-images.idx"
    spec.training.data.train.idx.labels = "digits/train-labels.idx"
    spec.training.precision.mode = "FP16"
    spec.training.iterations = iterations
    return spec


def first_record_ms(service):
    """(submit answered, first record seen) in milliseconds after the submit was sent."""
    start = time.perf_counter()
    job = service.jobs.SubmitJob(job_service_pb2.SubmitJobRequest(spec=digits(100)))
    submitted = time.perf_counter()
    first = None
    for frame in service.jobs.WatchJob(job_service_pb2.WatchJobRequest(job_id=job.id)):
        if first is None and any(segment.HasField("records") for segment in frame.segments):
            first = time.perf_counter()
        if frame.end:
            break
    return 1e3 * (submitted - start), 1e3 * (first - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=50)
    options = parser.parse_args()
    service = Service(options.bin)
    for _ in range(3):
        first_record_ms(service)
    times = [first_record_ms(service) for _ in range(options.jobs)]
    for metric, values in (("submit_ms", [a for a, _ in times]), ("submit_to_first_record_ms", [b for _, b in times])):
        emit("first_record", "warm", f"{metric}_p50", statistics.median(values), "ms")
        emit("first_record", "warm", f"{metric}_p99", sorted(values)[int(0.99 * (len(values) - 1))], "ms")
    service.close()


main()
