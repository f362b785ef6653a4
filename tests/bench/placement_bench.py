"""What an event costs the Scheduler as workers and jobs grow, in process (service/placement_bench.cc): a table of medians
in microseconds, each cell in a process of its own.

    placement_bench.py --bin DIR [--most-workers 10000] [--most-jobs 1000000]
"""
import argparse
import json
import pathlib
import subprocess

from paired import emit


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--most-workers", type=int, default=10_000)
    parser.add_argument("--most-jobs", type=int, default=1_000_000)
    options = parser.parse_args()
    fleets = [workers for workers in (10, 100, 1_000, 10_000) if workers <= options.most_workers]
    queues = [jobs for jobs in (1_000, 10_000, 100_000, 1_000_000) if jobs <= options.most_jobs]
    # One grows while the other is as large as it gets.
    for workers, jobs in [(workers, queues[-1]) for workers in fleets] + [(fleets[-1], jobs) for jobs in queues[:-1]]:
        run = subprocess.run([str(options.bin / "bench_placement"), str(workers), str(jobs)], check=True,
                             capture_output=True, text=True)
        for metric, value in json.loads(run.stdout).items():
            name, unit = metric.rsplit("_", 1)
            emit("placement", f"{workers}_workers_{jobs}_jobs", name, value, {"us": "us", "mib": "MiB"}[unit])


if __name__ == "__main__":
    main()
