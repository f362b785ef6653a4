"""The peer of a recorded iteration on one GPU: the same work in PyTorch, as peer_bench.py asks for it.

Reads lines `WORK PRECISION MODE ITERATIONS` on stdin and answers each with a JSON line, {"seconds", "first_step_s",
"peak_bytes", "loss"} or {"error"}: how long so many steps took, how long it was from nothing to the end of the first one
(the process warm, the batch on the GPU), and the most memory that the run held, its batch left out.

One step = zero gradients, forward under autocast, cross-entropy, scaled backward, unscale, clip to 1.0, fused AdamW,
scaler update. The batch is always the same one, and nothing is read back. MODE is how it is run:

    eager            operation by operation
    compile          the loss as a function of the batch through torch.compile
    autotune         the same with max-autotune
    compile-graph, autotune-graph
                     that step captured whole into one CUDA graph; its first step is what compiling and capturing take

Caches of the compiler are empty at the start of the process; later precisions of a work find kernels of earlier ones.
"""
import gc
import json
import os
import sys
import tempfile
import time

CACHE = tempfile.TemporaryDirectory()
os.environ["TORCHINDUCTOR_CACHE_DIR"] = CACHE.name
os.environ["TRITON_CACHE_DIR"] = CACHE.name + "/triton"

import torch  # noqa: E402

from peer_models import Encoder, Gpt2, loss_of, tiny  # noqa: E402

# Model, sizes of the input (features, or tokens where the second is 0) and classes.
WORKS = {
    "tiny": (tiny, (16, 32), 10),
    "layer_16x256": (Encoder, (16, 256, 1024), 1000),
    "layer_32x512": (Encoder, (32, 512, 1024), 1000),
    "gpt2_124m_8x1024": (Gpt2, (8, 1024), 50257),
    "gpt2_124m_32x1024": (Gpt2, (32, 1024), 50257),
}
DTYPES = {"fp32": None, "tf32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
COMPILERS = {"eager": None, "compile": "default", "autotune": "max-autotune-no-cudagraphs"}


class Run:
    """One work in one precision through one compiler; both its modes, as a graph and without."""

    def __init__(self, work, precision, compiler):
        self.key = (work, precision, compiler)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.manual_seed(0)
        build, sizes, classes = WORKS[work]
        if build is Gpt2:
            x, y = (torch.randint(classes, sizes, device="cuda") for _ in range(2))
        else:
            x, y = torch.randn(sizes, device="cuda"), torch.randint(classes, sizes[:1], device="cuda")
        dtype = DTYPES[precision]
        torch.cuda.synchronize()
        self.bytes_before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        self.model = build().cuda()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True,
                                           capturable=compiler != "eager")
        self.scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
        self.loss = lambda: loss_of(self.model, x, y, dtype)
        if COMPILERS[compiler]:
            self.loss = torch.compile(self.loss, mode=COMPILERS[compiler], dynamic=False)
        self.last_loss = self.step()
        torch.cuda.synchronize()
        self.first_step = time.perf_counter() - began
        self.graph = None
        gc.collect()
        gc.freeze()  # so that what the compiler left does not slow steps down

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def capture(self):
        """From here on the graph is what runs."""
        self.last_loss = None
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.last_loss = self.step()
        graph.replay()
        torch.cuda.synchronize()
        self.graph = graph
        self.first_step += time.perf_counter() - began

    def peak_bytes(self):
        return torch.cuda.max_memory_allocated() - self.bytes_before

    def seconds(self, iterations):
        began = time.perf_counter()
        for _ in range(iterations):
            if self.graph is not None:
                self.graph.replay()
            else:
                self.last_loss = self.step()
        torch.cuda.synchronize()
        return time.perf_counter() - began


def main():
    torch.zeros(1, device="cuda")
    print(json.dumps({"version": torch.__version__, "device": torch.cuda.get_device_name()}), flush=True)
    run = None
    for line in sys.stdin:
        work, precision, mode, iterations = line.split()
        compiler, _, graph = mode.partition("-")
        try:
            if run is None or run.key != (work, precision, compiler) or (run.graph and not graph):
                run = None
                torch._dynamo.reset()
                gc.unfreeze()
                gc.collect()  # or memory of the last run is counted here
                torch._C._cuda_clearCublasWorkspaces()  # each run counts its own
                torch.cuda.empty_cache()
                run = Run(work, precision, compiler)
            if graph and compiler == "eager":
                raise ValueError("eager steps are not captured here")
            if graph and run.graph is None:
                run.capture()
            seconds = run.seconds(int(iterations))
            answer = {"seconds": seconds, "first_step_s": run.first_step, "peak_bytes": run.peak_bytes(),
                      "loss": run.last_loss.item()}
        except Exception as error:  # a peer that cannot run is a result, too
            answer, run = {"error": f"{type(error).__name__}: {error}"[:300]}, None
        print(json.dumps(answer), flush=True)


main()
