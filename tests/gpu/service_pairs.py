"""What the service costs an iteration: the same work through server, agent and trainer with a watcher attached, against
the engine alone, in pairs on one GPU. Both say every iteration; the job also samples ranges, as jobs do.

    service_pairs.py --bin DIR [--pairs 5] [--only WORK,...] [--ranges-every N] [--times K]
"""
import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from first_job import Service
from peer_bench import Side, emit, median_ratio

LAYER = ("model: { transformer_encoder: { layers: 1, d_model: 1024, heads: 16 } }",
         "data: { train: { synthetic: { samples: 64, shape: [512, 1024], classes: 1000 } } }")
GPT2 = ("model: { gpt: { layers: 12, d_model: 768, heads: 12, context: 1024 } }",
        "data: { train: { synthetic: { samples: 256, classes: 50304 } } }")
# The works of mantissa_gpu_step_bench as jobs: what to train on what, batch and iterations, two to five seconds of them:
# the first sample of ranges, which comes whatever it costs, is to weigh as little as it does in a job.
WORKS = {
    "tiny": (("model: { mlp: { hidden: [64, 32] } }",
              "data: { train: { synthetic: { samples: 4096, shape: [32], classes: 10 } } }"), 16, 60000),
    "layer_32x512": (LAYER, 32, 1800),
    "gpt2_124m_8x1024": (GPT2, 8, 280),
}
WARM = 0.2  # of a job's records are before its pace is even


def spec_of(work, iterations, ranges_every=None, device="CUDA"):
    lines, batch, _ = WORKS[work]
    if ranges_every is not None:
        lines = (*lines, f"telemetry: {{ ranges_every_iterations: {ranges_every} }}")
    return "\n  ".join(["training:", *lines, "precision: { mode: BF16 }", "optimizer: { adamw: { learning_rate: 1e-4 } }",
                        f"batch_size: {batch}", f"iterations: {iterations}"]) + f"\nresources: {{ device: {device} }}\n"


def longest_pause(records):
    """The most seconds between two records beyond what their iterations take: a sample of ranges, as a rule."""
    paces = [(1e-9 * (int(b["time_unix_nanos"]) - int(a["time_unix_nanos"])), b["iteration"] - a["iteration"])
             for a, b in zip(records, records[1:])]
    usual = statistics.median(seconds / iterations for seconds, iterations in paces)
    return max(seconds - usual * iterations for seconds, iterations in paces)


def run_job(service, spec, folder):
    """One job that is watched. Seconds for an iteration and of the longest pause, by its records' own times; and how many
    bytes the watcher was told."""
    code, text = service.ask("submit", spec, "--name", "pairs", "-o", "json")
    if code != 0:
        raise SystemExit("the job was not taken")
    job = json.loads(text)["id"]
    seen = folder / "watched"
    with seen.open("w") as file:
        subprocess.run([service.programs / "mantissa", "--address", service.address, "watch", job, "-o", "json"],
                       stdout=file, check=True, timeout=300)
    columns = "iteration,time_unix_nanos"
    records = json.loads(service.ask("history", job, "--columns", columns, "-o", "json")[1])["records"]
    last, first = records[-1], records[int(WARM * len(records))]
    nanos = int(last["time_unix_nanos"]) - int(first["time_unix_nanos"])
    pause = longest_pause(records[int(WARM * len(records)):])
    return 1e-9 * nanos / (last["iteration"] - first["iteration"]), pause, seen.stat().st_size


def measure(service, engine, work, options, folder, facts):
    spec = folder / f"{work}.yaml"
    iterations = WORKS[work][2] * options.times
    spec.write_text(spec_of(work, iterations, options.ranges_every))
    run_job(service, spec, folder)
    engine.ask(f"{work}_bf16", iterations)
    times, pauses = [], []
    for _ in range(options.pairs):
        through, pause, told = run_job(service, spec, folder)
        if told < iterations:
            raise SystemExit(f"the watcher of {iterations} iterations was told {told} bytes")
        pauses.append(pause)
        times.append((through, engine.ask(f"{work}_bf16", iterations)["seconds"] / iterations))
    ratio, low, high = median_ratio(times)
    case = f"{work}_bf16"
    emit("service_pairs", case, "step_ms", 1e3 * statistics.median(pair[0] for pair in times), "ms", of="service", **facts)
    emit("service_pairs", case, "step_ms", 1e3 * statistics.median(pair[1] for pair in times), "ms", of="engine", **facts)
    emit("service_pairs", case, "longest_pause_ms", 1e3 * statistics.median(pauses), "ms", of="service", **facts)
    emit("service_pairs", case, "service_over_engine", ratio, "ratio", low=round(low, 4), high=round(high, 4),
         pairs=options.pairs, **facts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default=",".join(WORKS))
    parser.add_argument("--ranges-every", type=int, help="iterations between two samples of ranges; 0: none")
    parser.add_argument("--times", type=int, default=1, help="how often as many iterations as a work has")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        service = Service(options.bin, pathlib.Path(folder))
        try:
            service.start_all(stack)
            facts = {"device": service.device("CUDA")}
            if options.ranges_every is not None:
                facts["ranges_every"] = options.ranges_every
            engine = Side(stack, options.bin / "mantissa_gpu_step_bench", "--pairs")
            for work in options.only.split(","):
                measure(service, engine, work, options, pathlib.Path(folder), facts)
        except BaseException:
            service.show_logs()
            raise


if __name__ == "__main__":
    sys.exit(main())
