"""Makes the goldens of the training engine: what PyTorch computes for small models in every precision.

    deploy/setup.sh --tests --bench && build/deps/bench-venv/bin/python tests/golden/engine/make_goldens.py [MODEL...]

Each file holds a data set, first parameters, the state before 20 iterations with the loss and gradients of that
iteration, and where 200 iterations lead. The casts of the precision policy are explicit here, as in
worker/amp/precision_policy.cc: products in the compute type, norms, sums and loss in FP32; FP16 casts, computes in FP32
and rounds once. Scaling, clipping and AdamW are PyTorch's own.

How far apart two right answers are is measured, not guessed. Gradients: PyTorch's against those of FP64. A whole run:
the same with two threads, with every vector unit that the CPU has, and with the batch in another order; the greatest
distance is kept in the file.
"""
import argparse
import json
import math
import os
import pathlib
import platform
import subprocess
import sys

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
ITERATIONS = 200
RECORDED = (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 40, 60, 80, 100, 125, 150, 175, 199)
TYPES = {"FP32": torch.float32, "BF16": torch.bfloat16, "FP16": torch.float16}
EXACT = "EXACT"  # everything in FP64
INITIAL_SCALE = 2.0**24  # so high that the first iterations overflow
MAX_NORM = 1.0


class Policy:
    def __init__(self, mode):
        self.mode, self.type = mode, TYPES.get(mode, torch.float64)
        self.wide = torch.float64 if mode == EXACT else torch.float32

    def linear(self, x, weight, bias=None):
        operands = [None if t is None else t.to(self.type) for t in (x, weight, bias)]
        if self.mode != "FP16":
            return F.linear(*operands)
        return F.linear(*(None if t is None else t.float() for t in operands)).half()

    def convolution(self, x, weight):
        operands = [t.to(self.type) for t in (x, weight)]
        if self.mode != "FP16":
            return F.conv2d(*operands, padding=1)
        return F.conv2d(*(t.float() for t in operands), padding=1).half()

    def batch_norm(self, x, weight, bias):
        return F.batch_norm(x.to(self.wide), None, None, weight, bias, training=True)

    def attention(self, qkv, heads, causal):
        batch, time, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        operands = qkv.to(self.type)
        if self.mode == "FP16":
            operands = operands.float()
        q, k, v = operands.view(batch, time, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return out.transpose(1, 2).reshape(batch, time, width).to(self.type)

    def norm(self, x, weight, bias):
        return F.layer_norm(x.to(self.wide), (x.shape[-1],), weight, bias, 1e-5)


class Mlp:
    spec = {"model": {"mlp": {"hidden": [32, 24], "activation": "RELU"}}, "batch_size": 48}
    learning_rate, growth_interval = 1e-3, 60
    classes = 5

    def data(self, generator):
        x = torch.randn(48, 12, generator=generator)
        return x, (x @ torch.randn(12, self.classes, generator=generator)).argmax(1)

    def shapes(self):
        return {**linear("layers.0", 12, 32), **linear("layers.1", 32, 24), **linear("head", 24, self.classes)}

    def forward(self, p, x, policy):
        for layer in ("layers.0", "layers.1"):
            x = torch.relu(policy.linear(x, p[f"{layer}.weight"], p[f"{layer}.bias"]))
        return policy.linear(x, p["head.weight"], p["head.bias"])


class TransformerEncoder:
    width, heads, inner, layers = 8, 2, 24, 2
    spec = {"model": {"transformer_encoder": {"layers": 2, "d_model": 8, "heads": 2, "d_feed_forward": 24,
                                              "activation": "GELU"}}, "batch_size": 24}
    learning_rate, growth_interval = 1e-3, 60
    classes = 4

    def data(self, generator):
        x = torch.randn(24, 6, 5, generator=generator)
        return x, (x.mean(1) @ torch.randn(5, self.classes, generator=generator)).argmax(1)

    def shapes(self):
        shapes = linear("input", 5, self.width)
        for i in range(self.layers):
            shapes |= linear(f"layers.{i}.attention.qkv", self.width, 3 * self.width)
            shapes |= linear(f"layers.{i}.attention.proj", self.width, self.width)
            shapes |= norm(f"layers.{i}.norm1", self.width)
            shapes |= linear(f"layers.{i}.feed_forward.up", self.width, self.inner)
            shapes |= linear(f"layers.{i}.feed_forward.down", self.inner, self.width)
            shapes |= norm(f"layers.{i}.norm2", self.width)
        return shapes | linear("head", self.width, self.classes)

    def forward(self, p, x, policy):
        x = policy.linear(x, p["input.weight"], p["input.bias"]).to(policy.wide)
        for i in range(self.layers):
            at = f"layers.{i}"
            x = policy.norm(x + attend(p, f"{at}.attention", x, policy, self.heads, False), *pair(p, f"{at}.norm1"))
            x = policy.norm(x + feed(p, f"{at}.feed_forward", x, policy, F.gelu), *pair(p, f"{at}.norm2"))
        return policy.linear(x.mean(1), p["head.weight"], p["head.bias"])


class Gpt:
    width, heads, layers, context, vocabulary = 8, 2, 2, 10, 16
    spec = {"model": {"gpt": {"layers": 2, "d_model": 8, "heads": 2, "context": 10, "vocabulary": 16}},
            "batch_size": 16}
    # No growth: PyTorch's own runs do not agree on which later iteration overflows then.
    learning_rate, growth_interval = 1e-3, 2000

    def data(self, generator):
        # A Markov chain, so that there is something to learn.
        table = torch.softmax(3 * torch.randn(self.vocabulary, self.vocabulary, generator=generator), 1)
        tokens = torch.zeros(16, self.context + 1, dtype=torch.long)
        tokens[:, 0] = torch.arange(16)
        for t in range(self.context):
            tokens[:, t + 1] = torch.multinomial(table[tokens[:, t]], 1, generator=generator)[:, 0]
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def shapes(self):
        shapes = {"token_embedding.weight": (self.vocabulary, self.width),
                  "position_embedding.weight": (self.context, self.width)}
        for i in range(self.layers):
            shapes |= norm(f"blocks.{i}.norm1", self.width)
            shapes |= linear(f"blocks.{i}.attention.qkv", self.width, 3 * self.width)
            shapes |= linear(f"blocks.{i}.attention.proj", self.width, self.width)
            shapes |= norm(f"blocks.{i}.norm2", self.width)
            shapes |= linear(f"blocks.{i}.feed_forward.up", self.width, 4 * self.width)
            shapes |= linear(f"blocks.{i}.feed_forward.down", 4 * self.width, self.width)
        return shapes | norm("norm", self.width)

    def forward(self, p, tokens, policy):
        x = F.embedding(tokens, p["token_embedding.weight"]) + p["position_embedding.weight"]
        for i in range(self.layers):
            at = f"blocks.{i}"
            first = policy.norm(x, *pair(p, f"{at}.norm1"))
            x = x + attend(p, f"{at}.attention", first, policy, self.heads, True)
            x = x + feed(p, f"{at}.feed_forward", policy.norm(x, *pair(p, f"{at}.norm2")), policy, F.gelu)
        return policy.linear(policy.norm(x, *pair(p, "norm")), p["token_embedding.weight"]).flatten(0, 1)


class Convnet:
    channels = (4, 6)
    spec = {"model": {"convnet": {"channels": [4, 6]}}, "batch_size": 24}
    learning_rate, growth_interval = 1e-3, 60
    classes = 4

    def data(self, generator):
        x = torch.randn(24, 2, 8, 8, generator=generator)
        return x, (x.mean((2, 3)) @ torch.randn(2, self.classes, generator=generator)).argmax(1)

    def shapes(self):
        shapes, inputs = {}, 2
        for stage, outputs in enumerate(self.channels):
            # No bias: the norm takes any constant away.
            shapes[f"stages.{stage}.0.conv.weight"] = (outputs, inputs, 3, 3)
            shapes |= norm(f"stages.{stage}.0.norm", outputs)
            inputs = outputs
        return shapes | linear("head", inputs, self.classes)

    def forward(self, p, x, policy):
        for stage in range(len(self.channels)):
            x = policy.convolution(x, p[f"stages.{stage}.0.conv.weight"])
            x = F.max_pool2d(torch.relu(policy.batch_norm(x, *pair(p, f"stages.{stage}.0.norm"))), 2)
        return policy.linear(x.mean((2, 3)), p["head.weight"], p["head.bias"])


MODELS = {"mlp": Mlp, "transformer_encoder": TransformerEncoder, "gpt": Gpt, "convnet": Convnet}


def linear(path, inputs, outputs):
    return {f"{path}.weight": (outputs, inputs), f"{path}.bias": (outputs,)}


def norm(path, width):
    return {f"{path}.weight": (width,), f"{path}.bias": (width,)}


def pair(p, path):
    return p[f"{path}.weight"], p[f"{path}.bias"]


def attend(p, path, x, policy, heads, causal):
    return policy.linear(policy.attention(policy.linear(x, *pair(p, f"{path}.qkv")), heads, causal),
                         *pair(p, f"{path}.proj"))


def feed(p, path, x, policy, function):
    inner = function(policy.linear(x, *pair(p, f"{path}.up")), approximate="tanh")
    return policy.linear(inner, *pair(p, f"{path}.down"))


def is_norm(name):
    return ".norm" in name or name.startswith("norm.")


def first_parameters(shapes, generator):
    parameters = {}
    for name, shape in shapes.items():
        if is_norm(name):
            value = 1 + 0.1 * torch.randn(shape, generator=generator) if name.endswith("weight") else \
                0.1 * torch.randn(shape, generator=generator)
        elif name.endswith("bias"):
            value = 0.05 * torch.randn(shape, generator=generator)
        else:
            value = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
        parameters[name] = value.requires_grad_(True)
    return parameters


def structural_zeros(shapes):
    """Ranges of elements whose true gradient is zero: a key's bias adds the same to all scores of a query."""
    return {name: [shape[0] // 3, 2 * shape[0] // 3] for name, shape in shapes.items()
            if name.endswith("attention.qkv.bias")}


def flat(tensors):
    return torch.cat([t.detach().reshape(-1).float() for t in tensors])


class Run:
    """The plainest AMP loop; `order` permutes the batch."""

    def __init__(self, model, mode, reverse=False):
        generator = torch.Generator().manual_seed(20)
        self.model, self.policy = model, Policy(mode)
        self.x, self.y = model.data(generator)
        self.p = first_parameters(model.shapes(), generator)
        if reverse:
            self.x, self.y = self.x.flip(0), self.y.flip(0)
        decayed = [v for k, v in self.p.items() if v.dim() > 1]
        plain = [v for k, v in self.p.items() if v.dim() == 1]
        self.optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01},
                                            {"params": plain, "weight_decay": 0.0}], lr=model.learning_rate)
        scaled = mode == "FP16"
        self.scale, self.clean, self.applied = INITIAL_SCALE if scaled else 1.0, 0, 0
        self.scaled = scaled

    def moments(self, name):
        return flat([self.optimizer.state[p][name] if p in self.optimizer.state else torch.zeros_like(p)
                     for p in self.p.values()])

    def differentiate(self):
        """Loss and scaled gradients, those also in .grad."""
        for parameter in self.p.values():
            parameter.grad = None
        logits = self.model.forward(self.p, self.x, self.policy)
        loss = F.cross_entropy(logits.float(), self.y.reshape(-1), reduction="sum")
        loss.backward(torch.tensor(self.scale / self.y.numel()))
        return loss.item() / self.y.numel(), flat([p.grad for p in self.p.values()])

    def exact_gradients(self):
        p = {name: value.detach().double().requires_grad_(True) for name, value in self.p.items()}
        x = self.x.double() if self.x.is_floating_point() else self.x
        logits = self.model.forward(p, x, Policy(EXACT))
        (F.cross_entropy(logits, self.y.reshape(-1), reduction="sum") / self.y.numel()).backward()
        return torch.cat([value.grad.reshape(-1) for value in p.values()])

    def iterate(self):
        loss, scaled_gradients = self.differentiate()
        found = not bool(torch.isfinite(scaled_gradients).all())
        gradients = scaled_gradients / self.scale
        if not found:
            for parameter in self.p.values():
                parameter.grad /= self.scale
            torch.nn.utils.clip_grad_norm_(list(self.p.values()), MAX_NORM)
            self.optimizer.step()
            self.applied += 1
        if self.scaled:  # GradScaler's rule
            self.clean = 0 if found else self.clean + 1
            if found:
                self.scale *= 0.5
            elif self.clean == self.model.growth_interval:
                self.scale, self.clean = self.scale * 2, 0
        return loss, gradients, found


def train(model, mode, reverse=False):
    """Losses, skipped iterations and last parameters."""
    run = Run(model, mode, reverse)
    iterations = [run.iterate() for _ in range(ITERATIONS)]
    skipped = [i for i, (_, _, found) in enumerate(iterations) if found]
    return [loss for loss, _, _ in iterations], skipped, flat(run.p.values())


def mask_of(model):
    """False where the true gradient is zero."""
    parts = []
    zeros = structural_zeros(model.shapes())
    for name, shape in model.shapes().items():
        part = torch.ones(math.prod(shape), dtype=torch.bool)
        if name in zeros:
            part[zeros[name][0]:zeros[name][1]] = False
        parts.append(part)
    return torch.cat(parts)


def distance(a, b, mask):
    return ((a - b)[mask].double().norm() / b[mask].double().norm()).item()


def variant(name, mode, threads, capability, reverse):
    """The same run in a process of its own: the vector units are chosen when PyTorch is loaded."""
    environment = dict(os.environ)
    environment.pop("ATEN_CPU_CAPABILITY", None)
    if capability:
        environment["ATEN_CPU_CAPABILITY"] = capability
    command = [sys.executable, __file__, "--variant", name, mode, str(threads), str(int(reverse))]
    out = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
    said = json.loads(out)
    return said["losses"], said["skipped"], torch.tensor(said["parameters"]), said["capability"]


def make(name, mode):
    torch.set_num_threads(1)
    model = MODELS[name]()
    tensors, steps = {}, {}
    run = Run(model, mode)
    tensors["data.input"], tensors["data.target"] = run.x, run.y.reshape(-1).contiguous()
    losses, skipped = [], []
    for iteration in range(ITERATIONS):
        before = {"parameters": flat(run.p.values()), "exp_avg": run.moments("exp_avg"),
                  "exp_avg_sq": run.moments("exp_avg_sq")}
        state = {"step": run.applied, "loss_scale": run.scale, "growth_tracker": run.clean}
        exact = run.exact_gradients() if iteration in RECORDED else None
        loss, gradients, found = run.iterate()
        losses.append(loss)
        if found:
            skipped.append(iteration)
        if iteration in RECORDED:
            error = 0 if found else (gradients.double() - exact).abs().max().item()
            steps[iteration] = state | {"loss": loss, "skipped": found, "gradient_error": error}
            for part, value in (before | {"gradients": gradients}).items():
                tensors[f"iteration-{iteration:03}.{part}"] = value
    tensors["end.parameters"] = flat(run.p.values())

    mask = mask_of(model)
    distances, spread, ways = [], [], []
    for threads, capability, reverse in ((1, "default", False), (2, None, False), (1, None, True), (2, "default", True)):
        other_losses, other_skipped, other, used = variant(name, mode, threads, capability, reverse)
        if other_skipped != skipped:
            sys.exit(f"{name} {mode}: PyTorch itself skips {skipped} or {other_skipped}: no golden; change the seed")
        distances.append(distance(other, tensors["end.parameters"], mask))
        spread.append(max(abs(a - b) for a, b in zip(losses, other_losses)))
        ways.append(f"{threads} threads, {used}{', reversed' if reverse else ''}: {distances[-1]:.2e}")
    training = dict(model.spec, iterations=ITERATIONS, max_grad_norm=MAX_NORM,
                    optimizer={"adamw": {"learning_rate": model.learning_rate, "weight_decay": 0.01}},
                    precision={"mode": mode})
    if mode == "FP16":
        training["precision"]["loss_scale"] = {"init": INITIAL_SCALE, "growth_interval": model.growth_interval}
    metadata = {
        "training": json.dumps(training),
        "parameters": json.dumps(list(model.shapes())),
        "structural_zeros": json.dumps(structural_zeros(model.shapes())),
        "iterations": json.dumps(steps),
        "losses": json.dumps(losses),
        "skipped": json.dumps(skipped),
        "distance": repr(max(distances)),
        "loss_distance": repr(max(spread)),
        "made_by": f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}; "
                   + "; ".join(ways),
    }
    from safetensors.torch import save_file  # not where goldens are only read

    save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / f"{name}_{mode.lower()}.safetensors", metadata)
    print(f"{name} {mode}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, skipped {skipped}, distance {max(distances):.2e}, "
          f"of losses {max(spread):.2e}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", help="all of them when none is named")
    parser.add_argument("--variant", nargs=4)
    options = parser.parse_args()
    if options.variant:
        name, mode, threads, reverse = options.variant
        torch.set_num_threads(int(threads))
        losses, skipped, parameters = train(MODELS[name](), mode, reverse == "1")
        json.dump({"losses": losses, "skipped": skipped, "parameters": parameters.tolist(),
                   "capability": torch.backends.cpu.get_cpu_capability()}, sys.stdout)
        return
    for name in options.models or MODELS:
        for mode in TYPES:
            make(name, mode)


if __name__ == "__main__":
    main()
