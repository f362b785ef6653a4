"""The digits MLP (64-128-10, batch 64, AdamW, clip 1.0) on CPU: Mantissa's trainer with full telemetry against the same
loop in eager PyTorch, one thread each, in interleaved blocks; then telemetry on against off.

    step_bench.py --bin DIR [--pairs 30] [--iterations 2000]
"""
import argparse
import pathlib
import subprocess
import tempfile

from paired import emit, median_ratio
from trainer_client import ROOT, Column, Trainer, column, job_pb2

PRECISIONS = ("FP32", "BF16", "FP16")


def digits_spec(precision, iterations, every_iterations=1):
    spec = job_pb2.JobSpec(name="bench")
    training = spec.training
    training.model.mlp.hidden.append(128)
    training.data.train.idx.images = "data:digits/train-images.idx"
    training.data.train.idx.labels = "data:digits/train-labels.idx"
    training.precision.mode = precision
    training.optimizer.adamw.learning_rate = 1e-3
    training.batch_size = 64
    training.iterations = iterations
    training.max_grad_norm = 1.0
    training.telemetry.every_iterations = every_iterations
    spec.resources.device = job_pb2.ResourceSpec.CPU
    spec.resources.cpu_threads = 1
    return spec


def seconds_per_iteration(trainer, precision, iterations, every_iterations=1):
    """From the trainer's own record times, so that set-up and the final checkpoint are left out."""
    _, segments = trainer.run(digits_spec(precision, iterations, every_iterations))
    times = column(segments, Column.TIME_UNIX_NANOS)
    numbers = column(segments, Column.ITERATION)
    if every_iterations == 1 and len(times) != iterations:
        raise RuntimeError(f"{len(times)} records of {iterations} iterations")
    first = next(i for i, number in enumerate(numbers) if number >= 100)
    return (times[-1] - times[first]) * 1e-9 / (numbers[-1] - numbers[first])


def peer_seconds(peer, precision, iterations):
    peer.stdin.write(f"{precision} {iterations}\n")
    peer.stdin.flush()
    return float(peer.stdout.readline()) / iterations


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--peer-python", default=str(ROOT / "build/deps/bench-venv/bin/python"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as checkpoints:
        trainer = Trainer(options.bin / "mantissa-trainer", ROOT / "client/examples", checkpoints)
        peer = subprocess.Popen([options.peer_python, str(ROOT / "tests/bench/peer_step.py"), "1"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        version = peer.stdout.readline().strip()
        for precision in PRECISIONS:
            seconds_per_iteration(trainer, precision, 500)
            peer_seconds(peer, precision, 200)
            pairs = [(peer_seconds(peer, precision, 200), seconds_per_iteration(trainer, precision, options.iterations))
                     for _ in range(options.pairs)]
            ratio, low, high = median_ratio(pairs)
            case = f"digits_mlp_{precision.lower()}"
            emit("step", case, "step_ms", 1e3 * sorted(ours for _, ours in pairs)[len(pairs) // 2], "ms")
            emit("step", case, "step_ms", 1e3 * sorted(theirs for theirs, _ in pairs)[len(pairs) // 2], "ms",
                 peer=f"pytorch-eager {version}")
            emit("step", case, "speedup_vs_pytorch_eager", ratio, "ratio", low=round(low, 3), high=round(high, 3))
        # A record every 100 iterations is telemetry off but for the two times that the measurement needs.
        pairs = [(seconds_per_iteration(trainer, "FP32", options.iterations),
                  seconds_per_iteration(trainer, "FP32", options.iterations, 100)) for _ in range(options.pairs)]
        ratio, low, high = median_ratio(pairs)
        emit("step", "digits_mlp_fp32", "telemetry_on_over_off", ratio, "ratio", low=round(low, 3), high=round(high, 3))
        peer.stdin.close()
        trainer.close()


main()
