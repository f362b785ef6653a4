"""From sending SubmitJob to the moment a waiting worker has read the assignment, both durable in one transaction: one job
after the other, beside a bare gRPC server that answers a hanging call once a row is committed (service/floor_server.cc).
Each pair of runs on fresh databases; client, workers and server on the same machine. On disk, and in memory, where the
commit costs no more than its CPU: a commit's fdatasync is the difference.

    dispatch_bench.py --bin DIR [--pairs 7] [--jobs 1000]
"""
import argparse
import pathlib
import statistics

from paired import emit, median_ratio
from service_processes import Floor, Service, fdatasync_ms, measured

METRICS = [f"{what}_ms_{quantile}" for what in ("dispatch", "submit") for quantile in ("p50", "p99")]


def dispatch(binaries, server, workers, jobs):
    return measured(server, binaries / "bench_fake_workers", (workers, "dispatch", max(50, jobs // 10)),
                    (workers, "dispatch", jobs))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=1000)
    options = parser.parse_args()
    for workers, on in ((1, "disk"), (100, "disk"), (1, "memory"), (100, "memory")):
        case = f"{workers}_waiting_on_{on}"
        sync, pairs = [], []
        for _ in range(options.pairs):
            sync.append(fdatasync_ms(on))
            pairs.append((dispatch(options.bin, Service(options.bin, worker=False, on=on), workers, options.jobs),
                          dispatch(options.bin, Floor(options.bin, on=on), workers, options.jobs)))
        emit("dispatch", case, "fdatasync_ms_p50", statistics.median(sync), "ms")
        for side, peer in ((0, {}), (1, {"peer": "floor"})):
            for metric in METRICS:
                emit("dispatch", case, metric, statistics.median(pair[side][metric] for pair in pairs), "ms", **peer)
        for metric in METRICS[:2]:
            ratio, low, high = median_ratio([(ours[metric], floor[metric]) for ours, floor in pairs])
            emit("dispatch", case, f"{metric}_over_floor", ratio, "ratio", low=round(low, 3), high=round(high, 3))


if __name__ == "__main__":
    main()
