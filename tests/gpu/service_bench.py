"""Jobs on a GPU through server and worker, watched, against the same jobs of a trainer by itself; and how long it takes
from sending a submit to the first record at the watcher, with a warm trainer waiting.

    service_bench.py --bin DIR [--device CUDA] [--pairs 7] [--jobs 15]
                     [--works tiny,layer_16x256,layer_32x512,gpt2_124m_8x1024]

Needs the Python packages of tests/bench, on a machine with a GPU. JSON lines; times of iterations are between the
trainer's own records, so that what comes before and after them is left out.
"""
import argparse
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "bench"))

from paired import emit, median_ratio  # noqa: E402
from service_processes import Service  # noqa: E402
from trainer_client import Column, Trainer, column, job_pb2  # noqa: E402

from mantissa.v1 import admin_service_pb2, admin_service_pb2_grpc, job_service_pb2  # noqa: E402


def describe_tiny(training):
    training.model.mlp.hidden.extend([64, 32])
    training.data.train.synthetic.samples = 4096
    training.data.train.synthetic.shape.append(32)
    training.data.train.synthetic.classes = 10
    training.batch_size = 16


def describe_layer(batch, length):
    def describe(training):
        encoder = training.model.transformer_encoder
        encoder.layers, encoder.d_model, encoder.heads = 1, 1024, 16
        training.data.train.synthetic.samples = 128
        training.data.train.synthetic.shape.extend([length, 1024])
        training.data.train.synthetic.classes = 1000
        training.batch_size = batch
    return describe


def describe_gpt2(training):
    gpt = training.model.gpt
    gpt.layers, gpt.d_model, gpt.heads, gpt.context = 12, 768, 12, 1024
    training.data.train.synthetic.samples = 256
    training.data.train.synthetic.classes = 50304
    training.batch_size = 8


# And the iterations of a run: a second or two.
WORKS = {"tiny": (describe_tiny, 20_000), "layer_16x256": (describe_layer(16, 256), 1_000),
         "layer_32x512": (describe_layer(32, 512), 400), "gpt2_124m_8x1024": (describe_gpt2, 80)}


def spec_of(work, iterations, kind):
    spec = job_pb2.JobSpec(name=work)
    WORKS[work][0](spec.training)
    spec.training.precision.mode = "BF16"
    spec.training.optimizer.adamw.learning_rate = 1e-4
    spec.training.max_grad_norm = 1.0
    spec.training.iterations = iterations
    spec.resources.device = kind
    return spec


def seconds_per_iteration(segments, iterations):
    times = column(segments, Column.TIME_UNIX_NANOS)
    if len(times) != iterations:
        raise RuntimeError(f"{len(times)} records of {iterations} iterations")
    first = iterations // 10
    return (times[-1] - times[first]) * 1e-9 / (iterations - 1 - first)


class Watched:
    """One job from submit to end, and what a watcher saw of it, with the time after the submit was sent."""

    def __init__(self, service, spec):
        self.segments, self.first_record, self.events = [], None, []
        began, began_wall = time.perf_counter(), time.time()
        job = service.jobs.SubmitJob(job_service_pb2.SubmitJobRequest(spec=spec))
        for frame in service.jobs.WatchJob(job_service_pb2.WatchJobRequest(job_id=job.id)):
            for segment in frame.segments:
                if segment.HasField("event"):
                    at = segment.event.time.ToNanoseconds() * 1e-9 - began_wall
                    self.events.append((round(1e3 * at, 1), segment.event.reason))
                elif segment.HasField("records"):
                    self.first_record = self.first_record or time.perf_counter() - began
                    self.segments.append(segment)
            if frame.end:
                break
        self.state = service.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job.id)).state
        if self.state != job_pb2.Job.SUCCEEDED:
            raise RuntimeError(f"{spec.name}: {job_pb2.Job.State.Name(self.state)} {self.events}")


def wait_for_device(service, kind):
    admin = admin_service_pb2_grpc.AdminServiceStub(service.channel)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for worker in admin.ListWorkers(admin_service_pb2.ListWorkersRequest()).workers:
            for device in worker.devices:
                if device.kind == job_pb2.Device.Kind.Value(kind):
                    return device.model
        time.sleep(0.1)
    raise SystemExit(f"the worker offers no {kind} device")


def first_records(service, work, jobs, kind, model):
    """A job of a few iterations, again and again; the first also pays for what a trainer does once."""
    watched = [Watched(service, spec_of(work, 5, kind)) for _ in range(jobs + 1)]
    ms = [1e3 * job.first_record for job in watched]
    emit("gpu_service", work, "submit_to_first_record_ms_first_job", ms[0], "ms", device=model)
    emit("gpu_service", work, "submit_to_first_record_ms_p50", statistics.median(ms[1:]), "ms", device=model,
         low=round(min(ms[1:]), 1), high=round(max(ms[1:]), 1))
    print(f"{work}: ms after the submit: {watched[-1].events}", file=sys.stderr)


def pairs(service, trainer, work, count, kind, model):
    iterations = WORKS[work][1]
    spec = spec_of(work, iterations, kind)
    measured = []
    for pair in range(count + 1):
        def alone():
            return seconds_per_iteration(trainer.run(spec)[1], iterations)

        def through():
            return seconds_per_iteration(Watched(service, spec).segments, iterations)

        # Each goes first as often as the other.
        if pair % 2:
            bare, served = alone(), through()
        else:
            served, bare = through(), alone()
        measured.append((served, bare))
    measured = measured[1:]  # the first warms up
    emit("gpu_service", work, "iteration_ms_through_service", 1e3 * statistics.median(a for a, _ in measured), "ms",
         device=model)
    emit("gpu_service", work, "iteration_ms_trainer_alone", 1e3 * statistics.median(b for _, b in measured), "ms",
         device=model)
    ratio, low, high = median_ratio(measured)
    emit("gpu_service", work, "through_service_over_alone", ratio, "ratio", low=round(low, 4), high=round(high, 4),
         device=model)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=15)
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--device", default="CUDA", choices=["CUDA", "CPU"], help="CPU: to try it without a GPU")
    options = parser.parse_args()
    works = options.works.split(",")
    service = Service(options.bin)
    try:
        model = wait_for_device(service, options.device)
        for work in works:
            first_records(service, work, options.jobs, options.device, model)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(options.bin / "mantissa-trainer", folder, folder,
                              device="cuda:0" if options.device == "CUDA" else "cpu")
            for work in works:
                pairs(service, trainer, work, options.pairs, options.device, model)
            trainer.close()
    except BaseException:
        print((service.folder / "log").read_text()[-6000:], file=sys.stderr)
        raise
    finally:
        service.close()


if __name__ == "__main__":
    main()
