"""The example jobs in FP16 and BF16 on one kind of device, through a server and a worker on loopback; on a GPU also one
that finds its micro-batch, in deterministic mode.

Prints a JSON line for each number of each job's result, and writes them to first_job_<device>.jsonl.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "client/examples"

# example -> what it needs beyond a mode; a loss scale belongs to FP16 alone.
PRECISION = {
    ("digits_fp16", "FP16"): "{mode: FP16, loss_scale: {preset: TORCH, init: 16777216, growth_interval: 100}}",
    ("digits_fp16", "BF16"): "{mode: BF16}",
    ("gpt_text_bf16", "FP16"): "{mode: FP16}",
    ("gpt_text_bf16", "BF16"): "{mode: BF16}",
}
# 85 million parameters; a window of 131 thousand tokens.
AUTO = ("training.model={gpt: {layers: 12, d_model: 768, heads: 12, context: 256}}", "training.batch_size=512",
        "training.micro_batch=AUTO", "training.iterations=5", "training.schedule={}", "resources.device=CUDA",
        "training.execution.deterministic=true")
# field of JobResult -> unit
METRICS = {"iterations": "1", "skipped_iterations": "1", "loss": "nats", "eval_loss": "nats", "eval_accuracy": "ratio",
           "eval_perplexity": "1", "samples_per_second": "1/s", "peak_memory_bytes": "B"}


def until(condition, what, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise SystemExit(f"not within {seconds} s: {what}")


class Service:
    """A server and a worker in a temporary folder; their logs are shown when something went wrong."""

    def __init__(self, programs, folder):
        self.programs, self.folder, self.address = programs, folder, None
        self.logs = {}

    def start(self, stack, name, *arguments):
        path = self.folder / f"{name}.log"
        self.logs[name] = path
        process = subprocess.Popen([self.programs / f"mantissa-{name}", *map(str, arguments)],
                                   stdout=path.open("w"), stderr=subprocess.STDOUT)
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        return process

    def start_all(self, stack):
        data, checkpoints = self.folder / "data", self.folder / "checkpoints"
        checkpoints.mkdir()
        shutil.copytree(EXAMPLES / "digits", data / "digits")
        subprocess.run(["sh", EXAMPLES / "prepare_text.sh", data], check=True, stdout=sys.stderr)
        address = self.folder / "address"
        self.start(stack, "server", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                   "--data-dir", self.folder / "server", "--address-file", address)
        self.address = until(lambda: address.exists() and address.read_text().split(), "the server's address", 30)[0]
        self.start(stack, "worker", "--server", self.address, "--metrics-listen", "127.0.0.1:0",
                   "--state-dir", self.folder / "worker", "--root", f"data={data}",
                   "--root", f"checkpoints={checkpoints}")

    def ask(self, *arguments):
        """A command's exit code and output; its own words go to stderr."""
        done = subprocess.run([self.programs / "mantissa", "--address", self.address, *map(str, arguments)],
                              stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout

    def device(self, kind):
        """The model of the worker's device of this kind, once it is offered."""
        def look():
            code, text = self.ask("workers", "-o", "json")
            workers = json.loads(text) if code == 0 else []
            workers = workers if isinstance(workers, list) else workers.get("workers", [])
            models = [device.get("model", "") for worker in workers for device in worker.get("devices", [])
                      if device["kind"] == kind]
            return models and models[0]

        return until(look, f"the worker offers a {kind} device", 120)

    def run(self, example, mode, device, overrides):
        """The job at its end."""
        name = f"{example.rsplit('_', 1)[0]}-{mode.lower()}"
        code, text = self.ask("submit", EXAMPLES / f"{example}.yaml", "--name", name, "-o", "json",
                              "--set", f"resources.device={device}",
                              "--set", f"training.precision={PRECISION[example, mode]}",
                              *(argument for override in overrides for argument in ("--set", override)))
        if code != 0:
            raise SystemExit(f"{name} was not taken")
        job_id = json.loads(text)["id"]
        self.ask("wait", job_id, "--timeout", "8m")
        job = json.loads(self.ask("get", job_id, "-o", "json")[1])
        if job["state"] != "SUCCEEDED":
            print(json.dumps(job, indent=1), self.ask("logs", job_id)[1], file=sys.stderr)
        return name, job

    def find_micro_batch(self):
        """What a job of some size chose, and from what: MicroBatchChosen."""
        code, text = self.ask("submit", EXAMPLES / "gpt_text_bf16.yaml", "--name", "auto", "-o", "json",
                              *(argument for override in AUTO for argument in ("--set", override)))
        if code != 0:
            raise SystemExit("auto was not taken")
        job_id = json.loads(text)["id"]
        if self.ask("wait", job_id, "--timeout", "5m")[0] != 0:
            raise SystemExit(f"auto did not succeed\n{self.ask('logs', job_id)[1]}")
        return next(event["micro_batch"] for event in self.events(job_id) if event["reason"] == "MICRO_BATCH_CHOSEN")

    def events(self, job_id):
        segments = json.loads(self.ask("events", job_id, "-o", "json")[1])
        segments = segments if isinstance(segments, list) else segments["events"]
        return [segment["event"] for segment in segments]

    def is_recorded(self, job_id):
        """Whether its iterations ran as graphs; where not, its own word for it goes to stderr."""
        for event in self.events(job_id):
            if event["reason"] in ("STEP_EAGER", "STEP_GRAPH"):
                print(f"{event['reason']}: {event['message']}", file=sys.stderr)
        return any(event.get("started", {}).get("recorded", False) for event in self.events(job_id))

    def show_logs(self):
        for name, path in self.logs.items():
            print(f"---- {name}\n{path.read_text()[-6000:]}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--device", required=True, choices=["CUDA", "CPU"])
    parser.add_argument("--commit", required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="PATH=VALUE, for every job")
    arguments = parser.parse_args()
    lines, failed = [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        service = Service(arguments.bin, pathlib.Path(folder))
        try:
            service.start_all(stack)
            model = service.device(arguments.device)
            print(service.ask("doctor")[1], file=sys.stderr)
            for example, mode in PRECISION:
                name, job = service.run(example, mode, arguments.device, arguments.set)
                if job["state"] != "SUCCEEDED":
                    failed.append(name)
                result = job.get("result", {})
                for metric, unit in METRICS.items():
                    camel = metric.split("_")[0] + "".join(word.title() for word in metric.split("_")[1:])
                    if (value := result.get(metric, result.get(camel))) is not None:
                        lines.append({"bench": "first_job", "case": name, "metric": metric, "value": float(value),
                                      "unit": unit, "device": model, "commit": arguments.commit})
                recorded = service.is_recorded(job["id"])
                lines.append({"bench": "first_job", "case": name, "metric": "recorded", "value": float(recorded),
                              "unit": "1", "device": model, "commit": arguments.commit})
                if arguments.device == "CUDA" and not recorded:
                    failed.append(f"{name}, whose iterations were not recorded")
            if arguments.device == "CUDA":
                chosen = service.find_micro_batch()
                if not 0 < int(chosen.get("measured_peak_bytes", 0)) <= int(chosen["free_bytes"]):
                    failed.append("auto, whose micro-batch was not tried or did not fit")
                for metric, unit in (("micro_batch", "1"), ("estimated_bytes", "B"), ("measured_peak_bytes", "B")):
                    lines.append({"bench": "first_job", "case": "auto", "metric": metric,
                                  "value": float(chosen.get(metric, 0)), "unit": unit, "device": model,
                                  "commit": arguments.commit})
        except BaseException:
            service.show_logs()
            raise
        if failed:
            service.show_logs()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    print(text, end="")
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / f"first_job_{arguments.device.lower()}.jsonl").write_text(text)
    return f"did not succeed: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
