"""What an idle server with one idle worker connected costs: resident memory and share of a core over a minute.

    idle_bench.py --bin DIR [--seconds 60]
"""
import argparse
import os
import pathlib
import time

from paired import emit
from service_processes import Service


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    service = Service(options.bin)
    time.sleep(5)
    for name, process in (("server", service.server), ("worker", service.worker)):
        before = cpu_seconds(process.pid)
        time.sleep(options.seconds)
        share = (cpu_seconds(process.pid) - before) / options.seconds
        emit("idle", name, "cpu_share", share, "cores")
        emit("idle", name, "rss_mib", resident_mib(process.pid), "MiB")
    service.close()


main()
