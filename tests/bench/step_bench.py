"""Training iterations on CPU: Mantissa's trainer with full telemetry against the same models in eager PyTorch (AdamW, clip
1.0), one thread each, in interleaved blocks; then, in FP16, telemetry and statistics on against off.

    step_bench.py --bin DIR [--pairs 30] [--models digits_mlp,transformer_encoder,gpt,convnet]
"""
import argparse
import pathlib
import subprocess
import tempfile

from paired import emit, median_ratio
from trainer_client import ROOT, Column, Trainer, column, job_pb2

PRECISIONS = ("FP32", "BF16", "FP16")


def describe_digits_mlp(training):
    training.model.mlp.hidden.append(128)
    training.data.train.idx.images = "data:digits/train-images.idx"
    training.data.train.idx.labels = "data:digits/train-labels.idx"
    training.batch_size = 64


def describe_transformer_encoder(training):
    encoder = training.model.transformer_encoder
    encoder.layers, encoder.d_model, encoder.heads, encoder.d_feed_forward = 2, 64, 4, 256
    training.data.train.synthetic.shape.extend([16, 32])
    training.batch_size = 32


def describe_gpt(training):
    gpt = training.model.gpt
    gpt.layers, gpt.d_model, gpt.heads, gpt.context, gpt.vocabulary = 2, 64, 4, 64, 256
    training.data.train.synthetic.classes = 256
    training.batch_size = 8


def describe_convnet(training):
    training.model.convnet.channels.extend([16, 32])
    training.data.train.synthetic.shape.extend([3, 32, 32])
    training.data.train.synthetic.samples = 2048
    training.batch_size = 32


# And iterations of one block of ours and of PyTorch's in FP32: about half a second each.
MODELS = {"digits_mlp": (describe_digits_mlp, 2000, 200), "transformer_encoder": (describe_transformer_encoder, 200, 60),
          "gpt": (describe_gpt, 100, 40), "convnet": (describe_convnet, 40, 20)}


def spec_of(model, precision, iterations, telemetry=True):
    spec = job_pb2.JobSpec(name="bench")
    training = spec.training
    MODELS[model][0](training)
    training.precision.mode = precision
    training.optimizer.adamw.learning_rate = 1e-3
    training.iterations = iterations
    training.max_grad_norm = 1.0
    if not telemetry:
        # Off but for the two times that the measurement needs; a verdict takes the statistics of gradients either way.
        training.telemetry.every_iterations = max(1, iterations // 20)
        training.telemetry.ranges_every_iterations = 0
    spec.resources.device = job_pb2.ResourceSpec.CPU
    spec.resources.cpu_threads = 1
    return spec


def seconds_per_iteration(trainer, model, precision, iterations, telemetry=True):
    """From the trainer's own record times, so that set-up and the final checkpoint are left out."""
    _, segments = trainer.run(spec_of(model, precision, iterations, telemetry))
    times = column(segments, Column.TIME_UNIX_NANOS)
    numbers = column(segments, Column.ITERATION)
    if telemetry and len(times) != iterations:
        raise RuntimeError(f"{len(times)} records of {iterations} iterations")
    first = next(i for i, number in enumerate(numbers) if number >= iterations // 20)
    return (times[-1] - times[first]) * 1e-9 / (numbers[-1] - numbers[first])


def peer_seconds(peer, model, precision, iterations):
    peer.stdin.write(f"{model} {precision} {iterations}\n")
    peer.stdin.flush()
    return float(peer.stdout.readline()) / iterations


def report(case, pairs, version):
    """Of (PyTorch's, ours) seconds."""
    ratio, low, high = median_ratio(pairs)
    emit("step", case, "step_ms", 1e3 * sorted(ours for _, ours in pairs)[len(pairs) // 2], "ms")
    emit("step", case, "step_ms", 1e3 * sorted(theirs for theirs, _ in pairs)[len(pairs) // 2], "ms",
         peer=f"pytorch-eager {version}")
    emit("step", case, "speedup_vs_pytorch_eager", ratio, "ratio", low=round(low, 3), high=round(high, 3))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--only", choices=("speedup", "telemetry"), help="one half alone")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--peer-python", default=str(ROOT / "build/deps/bench-venv/bin/python"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as checkpoints:
        trainer = Trainer(options.bin / "mantissa-trainer", ROOT / "client/examples", checkpoints)
        peer = subprocess.Popen([options.peer_python, str(ROOT / "tests/bench/peer_step.py"), "1"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        version = peer.stdout.readline().strip()
        for model in options.models.split(","):
            for precision in PRECISIONS if options.only != "telemetry" else ():
                _, ours, theirs = MODELS[model]
                if precision != "FP32":
                    theirs = max(5, theirs // 6)  # without arithmetic of the format it takes so much longer
                seconds_per_iteration(trainer, model, precision, ours)
                peer_seconds(peer, model, precision, theirs)
                pairs = [(peer_seconds(peer, model, precision, theirs),
                          seconds_per_iteration(trainer, model, precision, ours)) for _ in range(options.pairs)]
                report(f"{model}_{precision.lower()}", pairs, version)
        for model in options.models.split(",") if options.only != "speedup" else ():
            # Long enough for several samples of ranges, which come at most every 50 ms.
            iterations = max(300, 4 * MODELS[model][1])
            pairs = [(seconds_per_iteration(trainer, model, "FP16", iterations),
                      seconds_per_iteration(trainer, model, "FP16", iterations, telemetry=False))
                     for _ in range(options.pairs)]
            ratio, low, high = median_ratio(pairs)
            emit("step", f"{model}_fp16", "telemetry_on_over_off", ratio, "ratio", low=round(low, 3), high=round(high, 3))
        peer.stdin.close()
        trainer.close()


if __name__ == "__main__":
    main()
