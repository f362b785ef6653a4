"""The peer of step_bench.py: the digits MLP in eager PyTorch, with the same work in each step.

Reads lines `PRECISION ITERATIONS` on stdin, answers each with the seconds that the iterations took. One step = gather
the batch, zero gradients, forward (under autocast in low precision), loss, scaled backward, unscale, clip to 1.0, fused
AdamW, scaler update. That is PyTorch's documented AMP recipe; in FP32 and BF16 it has no scaler.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

BATCH, SAMPLES = 64, 1437


class Run:
    def __init__(self, precision, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.dtype = {"FP16": torch.float16, "BF16": torch.bfloat16}.get(precision)
        self.scaler = torch.amp.GradScaler("cpu") if precision == "FP16" else None
        self.images, self.labels = torch.rand(SAMPLES, 64), torch.randint(0, 10, (SAMPLES,))
        self.order, self.at = torch.randperm(SAMPLES), 0

    def step(self):
        if self.at + BATCH > SAMPLES:
            self.order, self.at = torch.randperm(SAMPLES), 0
        rows = self.order[self.at : self.at + BATCH]
        self.at += BATCH
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            loss = F.cross_entropy(self.model(self.images[rows]), self.labels[rows])
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
        precision, iterations = line.split()
        if precision not in runs:
            runs[precision] = Run(precision, threads)
            for _ in range(200):
                runs[precision].step()
        run = runs[precision]
        start = time.perf_counter()
        for _ in range(int(iterations)):
            run.step()
        print(time.perf_counter() - start, flush=True)


main()
