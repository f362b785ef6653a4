"""PyTorch's side of curves.py: GPT-2 124M from given weights on given windows.

    peer_curve.py SETTINGS initial                        writes the weights that all runs begin with, as safetensors
    peer_curve.py SETTINGS PRECISION VARIANT              a JSON line of one run's losses and skipped iterations

The runs of a precision differ in what arithmetic leaves open. Beside `plain`: `reversed`, the order of a window's rows and
so of every sum over them; `compiled`, the kernels, which torch.compile writes, and so where results in between are rounded.
"""
import ctypes
import json
import math
import pathlib
import struct
import sys

import torch

from golden_distance import read_safetensors
from peer_models import Gpt2, loss_of

DTYPES = {"FP32": None, "FP16": torch.float16, "BF16": torch.bfloat16}
HEADER_BYTES = 1024  # of a file of tokens


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {}}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            values = tensor.detach().contiguous()
            file.write(ctypes.string_at(values.data_ptr(), values.nbytes))


def learning_rate(settings, step):
    """Of the update that follows `step` applied ones: linear warm-up, then half a cosine (worker/optim/schedule.h)."""
    warm_up, horizon = settings["warmup_steps"], settings["iterations"]
    if step < warm_up:
        return settings["learning_rate"] * (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / (horizon - warm_up))
    ratio = settings["final_ratio"]
    return settings["learning_rate"] * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def make_optimizer(model, settings):
    parameters = list(model.parameters())
    return torch.optim.AdamW([
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}],
        lr=settings["learning_rate"], betas=(0.9, settings["beta2"]), fused=True)


def train(settings, tokens, precision, variant):
    """Losses of all iterations, and the iterations that were skipped, from 1."""
    context = settings["context"]
    model = Gpt2(context, settings["vocabulary"]).cuda()
    model.load_state_dict(read_safetensors(pathlib.Path(settings["weights"]))[0])
    optimizer = make_optimizer(model, settings)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "FP16")
    compute = torch.compile(loss_of) if variant == "compiled" else loss_of
    offsets = torch.arange(context + 1, device="cuda")
    losses, skipped, step = [], [], 0
    for iteration, window in enumerate(settings["windows"], 1):
        indices = torch.tensor(window[::-1] if variant == "reversed" else window, device="cuda")
        rows = tokens[indices[:, None] * context + offsets].long()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimizer.zero_grad(set_to_none=True)
        loss = compute(model, rows[:, :-1], rows[:, 1:], DTYPES[precision])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"])
        scaler.step(optimizer)
        before = scaler.get_scale()
        scaler.update()
        if scaler.get_scale() < before:
            skipped.append(iteration)
        else:
            step += 1
        losses.append(loss.detach())
    return torch.stack(losses).tolist(), skipped


def main():
    settings, what = json.loads(pathlib.Path(sys.argv[1]).read_text()), sys.argv[2]
    if what == "initial":
        torch.manual_seed(settings["seed"])
        model = Gpt2(settings["context"], settings["vocabulary"])
        write_safetensors(pathlib.Path(settings["weights"]), dict(model.named_parameters()))
        return
    data = pathlib.Path(settings["tokens"]).read_bytes()[HEADER_BYTES:]
    tokens = (torch.frombuffer(bytearray(data), dtype=torch.int16).to(torch.int32) & 0xFFFF).cuda()
    losses, skipped = train(settings, tokens, what, sys.argv[3])
    print(json.dumps({"losses": losses, "skipped": skipped, "version": torch.__version__,
                      "device": torch.cuda.get_device_name()}), flush=True)


main()
