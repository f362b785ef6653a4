"""GPT-2 124M on real text: how near our losses are to PyTorch's from the same weights, over the same windows in the same
order, with the same optimizer and schedule; beside how near runs of PyTorch are that differ in the order of sums or in
the kernels that compute them, and how near all are to PyTorch's in FP32. All runs go at once, for no time is taken.

    curves.py --bin DIR --commit COMMIT --results DIR [--iterations 500] [--precisions FP16,BF16]

Ours runs as a job through a server and a worker on loopback. Prints a JSON line for each number, and keeps them and all
losses in curves.jsonl and curves.json.
"""
import argparse
import contextlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import source_text
from first_job import Service
from sample_order import window

CONTEXT = 512
BATCH = 8
SEED = 11
VOCABULARY = 50304
TEXT_BYTES = 12_000_000
LAST = 50  # iterations of the end that are looked at alone
VARIANTS = ("plain", "reversed", "compiled")
REFERENCE = ("FP32", "plain")
SETTINGS = {"learning_rate": 6e-4, "beta2": 0.95, "weight_decay": 0.1, "warmup_steps": 50, "final_ratio": 0.1,
            "max_grad_norm": 1.0, "context": CONTEXT, "vocabulary": VOCABULARY, "seed": SEED, "batch_size": BATCH}
SPEC = """
training:
  model: {{ gpt: {{ layers: 12, d_model: 768, heads: 12, context: {context} }} }}
  data: {{ train: {{ tokens: {{ files: [curves/train.bin], vocabulary: {vocabulary} }} }} }}
  init_from: {{ path: curves/initial.safetensors }}
  precision: {{ mode: {precision} }}
  optimizer: {{ adamw: {{ learning_rate: {learning_rate}, beta2: {beta2}, weight_decay: {weight_decay} }} }}
  schedule: {{ cosine: {{ warmup_steps: {warmup_steps}, final_ratio: {final_ratio} }} }}
  batch_size: {batch_size}
  seed: {seed}
  iterations: {iterations}
  max_grad_norm: {max_grad_norm}
resources: {{ device: {device} }}
"""


def run_ours(service, folder, settings, precision, device):
    """Losses of all iterations, and the iterations that were skipped."""
    spec = folder / f"{precision}.yaml"
    spec.write_text(SPEC.format(precision=precision, device=device, **settings))
    code, text = service.ask("submit", spec, "--name", f"curve-{precision.lower()}", "-o", "json")
    if code != 0:
        raise SystemExit(f"the job in {precision} was not taken")
    job = json.loads(text)["id"]
    if service.ask("wait", job, "--timeout", "5m")[0] != 0:
        raise SystemExit(f"the job in {precision} did not succeed\n{service.ask('logs', job)[1]}")
    records = json.loads(service.ask("history", job, "--columns", "iteration,loss,applied", "-o", "json")[1])["records"]
    if [record["iteration"] for record in records] != list(range(1, settings["iterations"] + 1)):
        raise SystemExit(f"{len(records)} records of {settings['iterations']} iterations in {precision}")
    return ([float(record["loss"]) for record in records],
            [record["iteration"] for record in records if str(record["applied"]).lower() != "true"])


def distances(a, b):
    """Of two curves: their first losses, the mean and the largest difference of an iteration's, and of the means of the
    end."""
    apart = [abs(x - y) for x, y in zip(a, b)]
    return {"first": apart[0], "mean": sum(apart) / len(apart), "largest": max(apart),
            "end": abs(sum(a[-LAST:]) - sum(b[-LAST:])) / min(LAST, len(a))}


def compare(curves, reference, emit):
    """Lines of one precision: ours against each run of PyTorch, those against each other, and all against FP32."""
    peers = [name for name in curves if name != "mantissa"]
    pairs = [("mantissa", peer) for peer in peers] + [(a, b) for i, a in enumerate(peers) for b in peers[i + 1:]]
    for a, b in pairs:
        for metric, value in distances(curves[a], curves[b]).items():
            emit(f"{metric}_distance", value, between=f"{a}, {b}")
    for name, losses in curves.items():
        for metric, value in distances(losses, reference).items():
            emit(f"{metric}_distance", value, between=f"{name}, pytorch-fp32")
    for name, losses in curves.items():
        emit("loss_of_the_end", sum(losses[-LAST:]) / min(LAST, len(losses)), of=name)


def run(service, folder, options, stack):
    """Everything: facts, curves and skipped iterations by precision, as the result file holds them."""
    data = folder / "data" / "curves"
    data.mkdir()
    tokens = source_text.tokenise(source_text.read(TEXT_BYTES))
    facts = source_text.write(data / "train.bin", tokens)
    settings = {**SETTINGS, "iterations": options.iterations}
    samples = (len(tokens) - 1) // CONTEXT
    asked = folder / "settings.json"
    asked.write_text(json.dumps({
        **settings, "tokens": str(data / "train.bin"), "weights": str(data / "initial.safetensors"),
        "windows": [window(SEED, samples, BATCH, number) for number in range(options.iterations)]}))
    peer = ["env", "-u", "LD_LIBRARY_PATH", sys.executable, "-B", pathlib.Path(__file__).with_name("peer_curve.py"), asked]
    subprocess.run([*peer, "initial"], check=True)
    precisions = options.precisions.split(",")
    peers = {}
    for precision, variant in dict.fromkeys([REFERENCE, *itertools.product(precisions, VARIANTS)]):
        process = subprocess.Popen([*peer, precision, variant], stdout=subprocess.PIPE, text=True)
        stack.callback(process.wait)
        stack.callback(process.kill)
        peers[precision, variant] = process
    found = {"settings": settings, "text": facts, "curves": {}, "skipped": {}}
    for precision in precisions:
        losses, skipped = run_ours(service, folder, settings, precision, "CUDA")
        found["curves"][precision], found["skipped"][precision] = {"mantissa": losses}, {"mantissa": skipped}
    for (precision, variant), process in peers.items():
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"PyTorch's run in {precision}, {variant}, ended with {process.wait()}")
        said = json.loads(line)
        if (precision, variant) == REFERENCE:
            found["reference"] = said["losses"]
        if precision in precisions:
            found["curves"][precision][f"pytorch-{variant}"] = said["losses"]
            found["skipped"][precision][f"pytorch-{variant}"] = said["skipped"]
        found |= {"device": said["device"], "torch": said["version"]}
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--precisions", default="FP16,BF16")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        service = Service(options.bin, pathlib.Path(folder))
        try:
            service.start_all(stack)
            service.device("CUDA")
            found = run(service, pathlib.Path(folder), options, stack)
        except BaseException:
            service.show_logs()
            raise
    def rounded(losses):
        return [round(loss, 5) for loss in losses]

    curves = {precision: {name: rounded(losses) for name, losses in runs.items()}
              for precision, runs in found["curves"].items()}
    (options.results / "curves.json").write_text(json.dumps({
        **found, "curves": curves, "reference": rounded(found["reference"]), "commit": options.commit}) + "\n")
    with (options.results / "curves.jsonl").open("w") as file:
        for precision, curves in found["curves"].items():
            def emit(metric, value, **more):
                line = json.dumps({"bench": "curves", "case": f"gpt2_124m_{precision.lower()}", "metric": metric,
                                   "value": round(value, 8), "unit": "nats", **more, "device": found["device"],
                                   "commit": options.commit})
                print(line, flush=True)
                file.write(line + "\n")

            compare(curves, found["reference"], emit)
            print(f"{precision}: skipped {found['skipped'][precision]}", file=sys.stderr)


if __name__ == "__main__":
    main()
