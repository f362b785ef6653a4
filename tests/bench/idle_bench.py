"""What an idle server costs, with one real worker connected and with a thousand that only say that they are there
(service/fake_workers.cc): resident memory, and share of a core over a minute.

    idle_bench.py --bin DIR [--seconds 60] [--workers 1000]
"""
import argparse
import pathlib
import subprocess
import time

from paired import emit
from service_processes import Service, cpu_seconds, resident_mib


def measure(case, processes, seconds):
    """Shares of a core over the same time."""
    time.sleep(5)
    before = {name: cpu_seconds(process.pid) for name, process in processes.items()}
    time.sleep(seconds)
    for name, process in processes.items():
        emit("idle", case, f"{name}_cpu_share", (cpu_seconds(process.pid) - before[name]) / seconds, "cores")
        emit("idle", case, f"{name}_rss_mib", resident_mib(process.pid), "MiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1000)
    options = parser.parse_args()
    service = Service(options.bin)
    measure("1_worker", {"server": service.server, "worker": service.worker}, options.seconds)
    service.close()

    service = Service(options.bin, worker=False)
    fakes = subprocess.Popen([str(options.bin / "bench_fake_workers"), service.address, str(options.workers), "idle"],
                             stdout=subprocess.PIPE, text=True)
    if fakes.stdout.readline() != "ready\n":
        raise RuntimeError("the workers did not connect")
    measure(f"{options.workers}_workers", {"server": service.server}, options.seconds)
    fakes.kill()
    fakes.wait()
    service.close()


main()
