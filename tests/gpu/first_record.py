"""How long it takes on a GPU from sending a submit to the first record of training at a watcher, with a warm trainer
waiting; the first job, which also pays for what a trainer does once, by itself.

    first_record.py --bin DIR [--device CUDA] [--jobs 9] [--works tiny,gpt2_124m_8x1024]

Needs the Python packages of tests/bench. Prints JSON lines, and where the time of the last job went to stderr.
"""
import argparse
import pathlib
import statistics
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "bench"))

from paired import emit  # noqa: E402
from service_processes import Service  # noqa: E402
from trainer_client import job_pb2  # noqa: E402

from mantissa.v1 import admin_service_pb2, admin_service_pb2_grpc, job_service_pb2  # noqa: E402


def describe_tiny(training):
    training.model.mlp.hidden.extend([64, 32])
    training.data.train.synthetic.samples = 4096
    training.data.train.synthetic.shape.append(32)
    training.data.train.synthetic.classes = 10
    training.batch_size = 16


def describe_gpt2(training):
    gpt = training.model.gpt
    gpt.layers, gpt.d_model, gpt.heads, gpt.context = 12, 768, 12, 1024
    training.data.train.synthetic.samples = 256
    training.data.train.synthetic.classes = 50304
    training.batch_size = 8


WORKS = {"tiny": describe_tiny, "gpt2_124m_8x1024": describe_gpt2}


def wait_for_device(service, kind):
    """Its model, once the worker offers one."""
    admin = admin_service_pb2_grpc.AdminServiceStub(service.channel)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for worker in admin.ListWorkers(admin_service_pb2.ListWorkersRequest()).workers:
            for device in worker.devices:
                if device.kind == job_pb2.Device.Kind.Value(kind):
                    return device.model
        time.sleep(0.1)
    raise SystemExit(f"the worker offers no {kind} device")


def run(service, work, kind):
    """(seconds to the first record, [(milliseconds, reason of an event)]), both after the submit was sent."""
    spec = job_pb2.JobSpec(name=work)
    WORKS[work](spec.training)
    spec.training.precision.mode = "BF16"
    spec.training.iterations = 5
    spec.resources.device = kind
    began, began_wall = time.perf_counter(), time.time()
    first, events, state = None, [], None
    job = service.jobs.SubmitJob(job_service_pb2.SubmitJobRequest(spec=spec))
    for frame in service.jobs.WatchJob(job_service_pb2.WatchJobRequest(job_id=job.id)):
        for segment in frame.segments:
            if segment.HasField("event"):
                at = segment.event.time.ToNanoseconds() * 1e-9 - began_wall
                events.append((round(1e3 * at, 1), segment.event.reason))
            elif segment.HasField("records"):
                first = first or time.perf_counter() - began
        state = frame.job.state or state
    if state != job_pb2.Job.SUCCEEDED:
        raise RuntimeError(f"{work} ended as {job_pb2.Job.State.Name(state)}: {events}")
    return first, events


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--device", default="CUDA", choices=["CUDA", "CPU"], help="CPU: to try it without a GPU")
    parser.add_argument("--jobs", type=int, default=9)
    parser.add_argument("--works", default=",".join(WORKS))
    options = parser.parse_args()
    service = Service(options.bin)
    try:
        model = wait_for_device(service, options.device)
        for work in options.works.split(","):
            jobs = [run(service, work, options.device) for _ in range(options.jobs + 1)]
            ms = [1e3 * first for first, _ in jobs]
            emit("gpu_first_record", work, "submit_to_first_record_ms_first_job", ms[0], "ms", device=model)
            emit("gpu_first_record", work, "submit_to_first_record_ms_p50", statistics.median(ms[1:]), "ms",
                 low=round(min(ms[1:]), 1), high=round(max(ms[1:]), 1), device=model)
            print(f"{work}, ms after the submit: {jobs[-1][1]}", file=sys.stderr)
    except BaseException:
        print((service.folder / "log").read_text()[-6000:], file=sys.stderr)
        raise
    finally:
        service.close()


if __name__ == "__main__":
    main()
