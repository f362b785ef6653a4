"""How soon a long run is seen again: a job of a million records in a real server's store, replayed by a real client.

    history_bench.py --bin DIR [--records 1000000] [--iterations 40000] [--runs 5] [--database FOLDER]

Its records and events are those of a real run of the digits example, again and again, written as commits write them
and compacted as the server does it (service/history_bench.cc). The floor is reading the same rows out of SQLite, in
the client's place and in turns with it. --database keeps the database in a folder, or takes it from there.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from paired import emit, median_ratio
from service_processes import Service
from trainer_client import ROOT, job_pb2

import grpc
from google.protobuf import json_format
from mantissa.v1 import job_service_pb2
import yaml

POINTS = 2000


def bench(binaries, *arguments):
    run = subprocess.run([str(binaries / "bench_history"), *map(str, arguments)], check=True, capture_output=True,
                         text=True)
    return json.loads(run.stdout)


def real_run(binaries, folder, iterations):
    """A database with one job that was trained."""
    service = Service(binaries)
    try:
        spec = yaml.safe_load((ROOT / "client/examples/digits_fp16.yaml").read_text())
        del spec["training"]["epochs"]
        spec["training"].update(iterations=iterations, checkpoint={"every_steps": 2000},
                                precision={"mode": "FP16", "loss_scale": {"preset": "TORCH"}})
        request = job_service_pb2.SubmitJobRequest(spec=json_format.ParseDict(spec, job_pb2.JobSpec()))
        job_id = service.jobs.SubmitJob(request).id
        while True:
            job = service.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id))
            if job.state in (job_pb2.Job.SUCCEEDED, job_pb2.Job.FAILED, job_pb2.Job.CANCELLED):
                break
            time.sleep(0.1)
        if job.state != job_pb2.Job.SUCCEEDED:
            raise RuntimeError(f"the run did not succeed: {job.state_message}")
        for process in (service.server, service.worker):
            process.terminate()
            process.wait(timeout=60)
        folder.mkdir(parents=True)
        for file in (service.folder / "server").glob("mantissa.db*"):
            shutil.copy(file, folder)
    finally:
        service.close()


def filled(options, folder):
    """What making the database measured; the database lies in folder/long."""
    kept = folder / "filled.json"
    if not kept.exists():
        if not (folder / "run").exists():
            real_run(options.bin, folder / "run", options.iterations)
        kept.write_text(json.dumps(bench(options.bin, "fill", folder / "run", folder / "long", options.records)))
    return json.loads(kept.read_text())


def report_size(made, floor):
    records = made["records"]
    case = f"{records}_records"
    emit("history", case, "events", made["events"], "events")
    emit("history", case, "compact_records_per_s", records / made["compact_s"], "1/s")
    # What SQLite took while the run was compacted beside; pages that are free are written to again.
    emit("history", case, "database_bytes_per_record", floor["pages_bytes"] / records, "bytes")
    emit("history", case, "database_used_bytes_per_record", (floor["pages_bytes"] - floor["free_bytes"]) / records,
         "bytes")
    emit("history", case, "rows_bytes_per_record", floor["bytes"] / records, "bytes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--iterations", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--database", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mantissa-history-") as temporary:
        folder = options.database or pathlib.Path(temporary)
        made = filled(options, folder)
        report_size(made, bench(options.bin, "floor", folder / "long", made["job"]))
        service = Service(options.bin, worker=False, data=folder / "long")
        try:
            cases = [("watch", POINTS), ("query", POINTS), ("watch", 0), ("query", 0)]
            for how, points in cases:
                runs = [(bench(options.bin, how, service.address, made["job"], points),
                         bench(options.bin, "floor", folder / "long", made["job"])) for _ in range(options.runs)]
                case = f"{how}_{points or 'all'}_points"
                for ours, _ in runs:
                    if ours["records"] != made["records"]:
                        raise RuntimeError(f"{case}: {ours['records']} of {made['records']} records")
                for metric in ("first_s", "whole_s"):
                    emit("history", case, metric, statistics.median(ours[metric] for ours, _ in runs), "s")
                emit("history", case, "rows", runs[0][0]["rows"], "rows")
                emit("history", case, "sent_mib", runs[0][0]["bytes"] / 2**20, "MiB")
                emit("history", case, "whole_s", statistics.median(floor["whole_s"] for _, floor in runs), "s",
                     peer="floor")
                ratio, low, high = median_ratio([(ours["whole_s"], floor["whole_s"]) for ours, floor in runs])
                emit("history", case, "whole_s_over_floor", ratio, "ratio", low=round(low, 3), high=round(high, 3))
        finally:
            service.close()


if __name__ == "__main__":
    main()
