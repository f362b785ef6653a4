"""Recorded iterations, with full telemetry, against the same work in PyTorch on the same GPU, in blocks that take turns:
pairs, the median ratio and its interval; the most memory, and the seconds to the first step of either.

    peer_bench.py --bin DIR [--pairs 7] [--seconds 300] [--only WORK_PRECISION,...] [--peers MODE,...]
    peer_bench.py --memory [...]        the memory of PyTorch's steps alone

What is not begun within --seconds is named on stderr. peer_step.py has the works and the modes.
"""
import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
from paired import emit, median_ratio  # noqa: E402

BLOCK_SECONDS = 0.15
LEAST_ITERATIONS = 2
GIB = 2**30

# Eager steps come first: in a process that has compiled, PyTorch's Python is slower. Then what matters most.
COMPILED = ("compile", "compile-graph")
PLAN = (
    *((case, ("eager",)) for case in (
        "tiny_bf16", "tiny_fp16", "layer_16x256_bf16",
        "layer_32x512_bf16", "layer_32x512_fp16", "layer_32x512_fp32", "layer_32x512_tf32", "gpt2_124m_32x1024_bf16",
        "gpt2_124m_8x1024_bf16", "gpt2_124m_8x1024_fp16", "gpt2_124m_8x1024_fp32", "gpt2_124m_8x1024_tf32")),
    ("tiny_bf16", COMPILED), ("gpt2_124m_32x1024_bf16", COMPILED), ("layer_32x512_bf16", COMPILED),
    ("layer_16x256_bf16", COMPILED), ("gpt2_124m_8x1024_bf16", COMPILED), ("tiny_fp16", COMPILED),
    ("layer_32x512_fp16", ("compile",)), ("layer_32x512_fp32", ("compile",)), ("layer_32x512_tf32", ("compile",)),
    ("tiny_bf16", ("autotune-graph",)), ("gpt2_124m_8x1024_fp16", ("compile",)), ("gpt2_124m_8x1024_fp32", ("compile",)),
    ("gpt2_124m_8x1024_tf32", ("compile",)), ("layer_16x256_bf16", ("autotune-graph",)),
    ("layer_32x512_bf16", ("autotune-graph",)), ("gpt2_124m_32x1024_bf16", ("autotune-graph",)),
)


class Side:
    """A program that runs so many steps of what it is asked for, and says how long that took."""

    def __init__(self, stack, *command):
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.process.wait, 60)
        stack.callback(self.process.terminate)

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, what, iterations):
        self.process.stdin.write(f"{what} {iterations}\n")
        self.process.stdin.flush()
        return self.read()

    def block(self, what):
        """Iterations of a block of about BLOCK_SECONDS and the answer to the last trial of one; or an error."""
        answer = self.ask(what, LEAST_ITERATIONS)
        if "error" in answer:
            return 0, answer
        iterations = LEAST_ITERATIONS
        for _ in range(2):  # the first ones are slower than those that follow
            answer = self.ask(what, iterations)
            iterations = max(LEAST_ITERATIONS, round(BLOCK_SECONDS * iterations / answer["seconds"]))
        return iterations, answer


def compare(ours, theirs, case, mode, pairs, facts):
    """The lines of one comparison."""
    peer = f"pytorch-{mode} {facts['version']}"
    lines = {"device": facts["device"]}
    work, _, precision = case.rpartition("_")
    asked = f"{work} {precision} {mode}"
    of_theirs, said = theirs.block(asked)
    of_ours, own = ours.block(case)
    if "error" in said or "error" in own:
        who, error = (f"pytorch-{mode}", said) if "error" in said else ("mantissa", own)
        print(f"{case}: {who}: {error['error']}", file=sys.stderr, flush=True)
        return
    times = []
    for _ in range(pairs):
        said, own = theirs.ask(asked, of_theirs), ours.ask(case, of_ours)
        times.append((said["seconds"] / of_theirs, own["seconds"] / of_ours))
    if own["loss"] != own["loss"] or said["loss"] != said["loss"]:
        print(f"{case}: a loss is NaN: ours {own['loss']}, pytorch-{mode} {said['loss']}", file=sys.stderr, flush=True)
    for of, seconds, answer in (({"peer": peer}, [pair[0] for pair in times], said),
                                ({"beside": peer}, [pair[1] for pair in times], own)):
        emit("peers", case, "step_ms", 1e3 * statistics.median(seconds), "ms", min=round(1e3 * min(seconds), 6), **of,
             **lines)
        emit("peers", case, "peak_gib", answer["peak_bytes"] / GIB, "GiB", **of, **lines)
        emit("peers", case, "first_step_s", answer["first_step_s"], "s", **of, **lines)
    ratio, low, high = median_ratio(times)
    emit("peers", case, "peer_over_ours", ratio, "ratio", low=round(low, 4), high=round(high, 4), pairs=pairs, peer=peer,
         **lines)


def ask_memory(theirs, case, mode, facts):
    """The line of one peer's memory; how long it takes does not matter, so other programs may run beside it."""
    work, _, precision = case.rpartition("_")
    said = theirs.ask(f"{work} {precision} {mode}", LEAST_ITERATIONS)
    if "error" in said:
        print(f"{case}: pytorch-{mode}: {said['error']}", file=sys.stderr, flush=True)
        return
    emit("peers", case, "peak_gib", said["peak_bytes"] / GIB, "GiB", peer=f"pytorch-{mode} {facts['version']}",
         device=facts["device"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--only", help="WORK_PRECISION,... instead of all")
    parser.add_argument("--peers", help="MODE,... instead of all that are planned")
    options = parser.parse_args()
    began = time.monotonic()
    only, modes = (set(text.split(",")) if text else None for text in (options.only, options.peers))
    with contextlib.ExitStack() as stack:
        ours = None if options.memory else Side(stack, options.bin / "mantissa_gpu_step_bench", "--pairs")
        # LibTorch's libraries are beside our programs, PyTorch's beside PyTorch.
        theirs = Side(stack, "env", "-u", "LD_LIBRARY_PATH", sys.executable, "-B",
                      pathlib.Path(__file__).with_name("peer_step.py"))
        facts = theirs.read()
        for case, planned in PLAN:
            for mode in planned:
                if (only and case not in only) or (modes and mode not in modes):
                    continue
                if time.monotonic() - began > options.seconds:
                    print(f"left out for time: {case} {mode}", file=sys.stderr, flush=True)
                    continue
                if options.memory:
                    ask_memory(theirs, case, mode, facts)
                else:
                    compare(ours, theirs, case, mode, options.pairs, facts)
                print(f"{time.monotonic() - began:.0f} s: {case} {mode}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
