"""What it costs to let many watch one job: entries delivered a second, and how old they are then; client included, all on
one machine. A fake worker publishes batches of 256 records as a trainer of FP16 makes them (service/record_batch.cc); each
is durable before anybody sees it. Beside it the least that delivery can cost: a bare gRPC server that writes one such
frame, encoded once, to every reader, and stores nothing (service/fanout_floor.cc), read by the same client.

Watchers read raw frames and count what these answer for, without a hole; one of them parses all of its own. An entry is
a record here, but for the few events at the beginning.

    fanout_bench.py --bin DIR [--pairs 5] [--seconds 4] [--cases flat_out paced stalled trained]
"""
import argparse
import json
import pathlib
import statistics
import subprocess

from paired import emit, median_ratio
from service_processes import Service, fdatasync_ms
from trainer_client import job_pb2

from mantissa.v1 import job_service_pb2

WATCHERS, CONNECTIONS = 100, 4
PACED_PER_S = 51_200
STALLED, STALLED_CONNECTIONS = 200, 4


class Floor:
    def __init__(self, binaries):
        self.server = subprocess.Popen([str(binaries / "bench_fanout_floor")], stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.server.stdout.readline())}"

    def close(self):
        self.server.kill()
        self.server.wait()


def client(binaries, server, mode, *arguments):
    """What the client prints of `server`, which is closed."""
    command = [str(binaries / "bench_fanout_client"), server.address, mode, *map(str, arguments)]
    try:
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    finally:
        server.close()


def flat_out(options, case):
    pairs = []
    for _ in range(options.pairs):
        watch = (WATCHERS, CONNECTIONS, options.seconds)
        ours = client(options.bin, Service(options.bin, worker=False), "flat", *watch)
        pairs.append((ours, client(options.bin, Floor(options.bin), "floor", *watch)))
    for side, peer in ((0, {}), (1, {"peer": "floor"})):
        for metric in ("entries_per_s", "frames_per_s"):
            value = statistics.median(pair[side][metric] for pair in pairs)
            emit("fanout", case, {"entries_per_s": "records_delivered_per_s"}.get(metric, metric), value, "1/s", **peer)
    ratio, low, high = median_ratio([(ours["entries_per_s"], floor["entries_per_s"]) for ours, floor in pairs])
    emit("fanout", case, "records_delivered_per_s_over_floor", ratio, "ratio", low=round(low, 3), high=round(high, 3))


def paced(options, case):
    """With the database on a disk, and where being durable costs nothing."""
    for on in ("disk", "memory"):
        runs = [client(options.bin, Service(options.bin, worker=False, on=on), "paced", WATCHERS, CONNECTIONS,
                       options.seconds, PACED_PER_S) for _ in range(options.pairs)]
        rate = statistics.median(run["entries_per_s"] for run in runs)
        emit("fanout", f"{case}_on_{on}", "records_delivered_per_s", rate, "1/s")
        for quantile in ("p50", "p99", "p999"):
            ages = sorted(run[f"age_ms_{quantile}"] for run in runs)
            emit("fanout", f"{case}_on_{on}", f"trainer_to_client_ms_{quantile}", statistics.median(ages), "ms",
                 low=ages[0], high=ages[-1])


def stalled(options, case):
    run = client(options.bin, Service(options.bin, worker=False), "stalled", WATCHERS, CONNECTIONS, options.seconds / 2,
                 STALLED, STALLED_CONNECTIONS, 4 * options.pairs)
    emit_ratio(case, "records_delivered_per_s_over_none_stalled", run)


def trained(options, case):
    """A real trainer, and one watcher who reads."""
    service = Service(options.bin)
    spec = job_pb2.JobSpec(name="bench")
    spec.training.model.mlp.hidden.append(128)
    spec.training.data.train.idx.images = "digits/train-images.idx"
    spec.training.data.train.idx.labels = "digits/train-labels.idx"
    spec.training.precision.mode = "FP32"
    spec.training.batch_size = 16
    spec.training.iterations = 500_000_000
    job = service.jobs.SubmitJob(job_service_pb2.SubmitJobRequest(spec=spec))
    run = client(options.bin, service, "trained", job.id, options.seconds, STALLED, STALLED_CONNECTIONS,
                 4 * options.pairs)
    emit("fanout", case, "iterations_per_s", statistics.median(with_stalled for _, with_stalled in run["pairs"]), "1/s")
    emit_ratio(case, "iterations_per_s_over_none_stalled", run)
    for quantile in ("p50", "p99"):
        emit("fanout", case, f"trainer_to_client_ms_{quantile}", run[f"age_ms_{quantile}"], "ms")


def emit_ratio(case, metric, run):
    ratio, low, high = median_ratio([(with_stalled, without) for without, with_stalled in run["pairs"]])
    emit("fanout", case, metric, ratio, "ratio", low=round(low, 4), high=round(high, 4))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    emit("fanout", "disk", "fdatasync_ms_p50", fdatasync_ms(), "ms")
    for case in options.cases:
        measure, name = CASES[case]
        measure(options, name)


CASES = {"flat_out": (flat_out, f"{WATCHERS}_watchers_flat_out"),
         "paced": (paced, f"{WATCHERS}_watchers_{PACED_PER_S}_records_per_s"),
         "stalled": (stalled, f"{WATCHERS}_watchers_and_{STALLED}_stalled"),
         "trained": (trained, f"trained_job_and_{STALLED}_stalled")}


main()
