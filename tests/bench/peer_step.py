"""The peer of step_bench.py: the same models in eager PyTorch, with the same work in each step.

Reads lines `MODEL PRECISION ITERATIONS` on stdin, answers each with the seconds that the iterations took. One step =
gather the batch, zero gradients, forward (under autocast in low precision), loss, scaled backward, unscale, clip to 1.0,
fused AdamW, scaler update. That is PyTorch's documented AMP recipe; in FP32 and BF16 it has no scaler.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.input = nn.Linear(32, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.layers(self.input(x)).mean(1))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, time_steps, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, time_steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, time_steps, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(256, 64), nn.Embedding(64, 64)
        self.blocks = nn.Sequential(*(Block(64, 4) for _ in range(2)))
        self.norm = nn.LayerNorm(64)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight).flatten(0, 1)


class Convnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.Conv2d(16, 32, 3, padding=1, bias=False)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(32)])
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        for convolution, norm in zip(self.convolutions, self.norms):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)
        return self.head(x.mean((2, 3)))


# Model, inputs, targets and batch: those of step_bench.py's specs.
MODELS = {
    "digits_mlp": (lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)),
                   lambda: (torch.rand(1437, 64), torch.randint(0, 10, (1437,))), 64),
    "transformer_encoder": (Encoder, lambda: (torch.randn(4096, 16, 32), torch.randint(0, 10, (4096,))), 32),
    "gpt": (Gpt, lambda: (torch.randint(0, 256, (4096, 64)), torch.randint(0, 256, (4096, 64))), 8),
    "convnet": (Convnet, lambda: (torch.randn(2048, 3, 32, 32), torch.randint(0, 10, (2048,))), 32),
}


class Run:
    def __init__(self, model, precision, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        build, data, self.batch = MODELS[model]
        self.model = build()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.dtype = {"FP16": torch.float16, "BF16": torch.bfloat16}.get(precision)
        self.scaler = torch.amp.GradScaler("cpu") if precision == "FP16" else None
        self.inputs, self.targets = data()
        self.order, self.at = torch.randperm(len(self.inputs)), 0

    def step(self):
        if self.at + self.batch > len(self.inputs):
            self.order, self.at = torch.randperm(len(self.inputs)), 0
        rows = self.order[self.at : self.at + self.batch]
        self.at += self.batch
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            loss = F.cross_entropy(self.model(self.inputs[rows]), self.targets[rows].flatten())
        if self.scaler is None:
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            return
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def main():
    threads = int(sys.argv[1])
    runs = {}
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        model, precision, iterations = line.split()
        if (model, precision) not in runs:
            runs[model, precision] = Run(model, precision, threads)
            for _ in range(20):
                runs[model, precision].step()
        run = runs[model, precision]
        start = time.perf_counter()
        for _ in range(int(iterations)):
            run.step()
        print(time.perf_counter() - start, flush=True)


main()
