"""What the tests of exporters share: a worker that exports, jobs worth looking at, and their history."""
import csv
import io
import os
import pathlib
import urllib.request

from conftest import Program, until

DEPS = pathlib.Path(os.environ.get("MANTISSA_DEPS_DIR", pathlib.Path(__file__).resolve().parents[2] / "build/deps"))

# Column of the history -> tag of the exporters.
TAGS = {"loss": "train/loss", "loss_scale": "train/loss_scale", "grad_norm": "train/grad_norm",
        "learning_rate": "train/learning_rate", "samples_per_second": "train/samples_per_second"}


def start_exporting_worker(cluster, *arguments, name="ws-1", **variables):
    """Every record is exported. Its metrics' port is in its log."""
    worker = Program(name, ["mantissa-worker", "--server", cluster.address, "--metrics-listen", "127.0.0.1:0",
                            "--state-dir", cluster.folder / name, "--worker-id", name, "--root", f"data={cluster.data}",
                            "--root", f"checkpoints={cluster.checkpoints}", "--log-format", "json",
                            "--export-interval", "0s", *arguments], cluster.folder, **variables)
    cluster.workers[name] = worker
    until(lambda: "connected" in worker.log_text(), "the worker is connected")
    return worker


def worker_metric(worker, name):
    """The sum over the series of a family of a worker."""
    import json
    ports = [json.loads(line)["metrics_port"] for line in worker.log_text().splitlines() if '"metrics_port"' in line]
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def overflowing_spec(cluster, iterations=120):
    """Overflows at the beginning, and is evaluated on the way."""
    spec = cluster.digits(iterations=iterations)
    spec.training.precision.loss_scale.init = 2.0**30
    spec.training.data.eval.idx.images = "digits/test-images.idx"
    spec.training.data.eval.idx.labels = "digits/test-labels.idx"
    spec.training.evaluation.every_steps = 50
    return spec


def history(cluster, job_id):
    """{tag: {iteration: value}} of what `mantissa history` prints, by attempt."""
    printed = cluster.cli("history", job_id, "-o", "csv")
    assert printed.returncode == 0, printed.stderr
    attempts = {}
    for record in csv.DictReader(io.StringIO(printed.stdout)):
        tags = attempts.setdefault(int(record["attempt"]), {})
        iteration = int(record["iteration"])
        for column, tag in TAGS.items():
            if record[column] != "":
                tags.setdefault(tag, {})[iteration] = float(record[column].replace("Infinity", "inf"))
        tags.setdefault("train/overflow", {})[iteration] = float(record["applied"] == "false")
    return attempts


def evaluations(cluster, job_id):
    """{iteration: EvaluationResult} of the job's events."""
    events = cluster.jobs().ListEvents(cluster.pb("job_service").ListEventsRequest(job_id=job_id, page_size=1000)).events
    return {segment.event.iteration: segment.event.evaluation for segment in events
            if segment.event.HasField("evaluation")}
