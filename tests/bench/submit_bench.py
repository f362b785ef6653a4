"""Durable submits per second beside the least that they can cost: a bare gRPC server with one SQLite table and the same
commit settings (service/floor_server.cc), each pair of runs on fresh databases, client and server on the same machine.

    submit_bench.py --bin DIR [--pairs 7]
"""
import argparse
import pathlib

from paired import emit, median_ratio
from service_processes import Floor, Service, fdatasync_ms, measured

# name: in flight, calls, specs a call (0: SubmitJob)
CASES = {"unary_64_in_flight": (64, 20_000, 0), "batches_of_100": (8, 400, 100)}


def load(binaries, server, in_flight, calls, batch):
    return measured(server, binaries / "bench_load_client", (in_flight, max(8, calls // 20), batch),
                    (in_flight, calls, batch))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    emit("submit", "disk", "fdatasync_ms_p50", fdatasync_ms(), "ms")
    for case, shape in CASES.items():
        pairs = [(load(options.bin, Service(options.bin, worker=False), *shape),
                  load(options.bin, Floor(options.bin), *shape)) for _ in range(options.pairs)]
        middle = len(pairs) // 2
        for side, peer in ((0, {}), (1, {"peer": "floor"})):
            for metric, unit in (("jobs_per_s", "1/s"), ("p50_ms", "ms"), ("p99_ms", "ms")):
                emit("submit", case, metric, sorted(pair[side][metric] for pair in pairs)[middle], unit, **peer)
        for metric in ("jobs_per_s", "p99_ms"):
            ratio, low, high = median_ratio([(ours[metric], floor[metric]) for ours, floor in pairs])
            emit("submit", case, f"{metric}_over_floor", ratio, "ratio", low=round(low, 3), high=round(high, 3))


if __name__ == "__main__":
    main()
