"""How far PyTorch's own gradients on this GPU are from those of FP64, from the states that the goldens recorded: what a
golden made on a CPU can ask of any GPU.

    tests/gpu/golden_distance.py [DEVICE]

Prints a JSON line for each golden: the largest distance, that of the CPU beside it, and the iteration of either.
"""
import importlib.util
import json
import pathlib
import struct
import sys

import torch

ENGINE = pathlib.Path(__file__).parents[1] / "golden" / "engine"
TYPES = {"F32": torch.float32, "I64": torch.int64}


def read_safetensors(path):
    """Tensors by name, and the metadata; without the package, which a GPU machine may not have."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=TYPES[entry["dtype"]]).view(entry["shape"])
    return tensors, metadata


def load_makers():
    spec = importlib.util.spec_from_file_location("make_goldens", ENGINE / "make_goldens.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_parameters(run, flat):
    at = 0
    with torch.no_grad():
        for parameter in run.p.values():
            parameter.copy_(flat[at:at + parameter.numel()].view(parameter.shape))
            at += parameter.numel()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    makers = load_makers()
    for path in sorted(ENGINE.glob("*.safetensors")):
        name, mode = path.stem.rsplit("_", 1)
        tensors, metadata = read_safetensors(path)
        run = makers.Run(makers.MODELS[name](), mode.upper())
        worst, golden = (0.0, 0), (0.0, 0)
        for iteration, said in json.loads(metadata["iterations"]).items():
            if said["skipped"]:
                continue
            set_parameters(run, tensors[f"iteration-{int(iteration):03}.parameters"])
            exact = run.exact_gradients()
            there = makers.Run(makers.MODELS[name](), mode.upper())
            there.scale = said["loss_scale"]
            there.x, there.y = run.x.to(device), run.y.to(device)
            there.p = {key: value.detach().to(device).requires_grad_(True) for key, value in run.p.items()}
            _, scaled = there.differentiate()
            error = (scaled.double().cpu() / there.scale - exact).abs().max().item()
            worst = max(worst, (error, int(iteration)))
            golden = max(golden, (said["gradient_error"], int(iteration)))
        print(json.dumps({"golden": path.stem, "device": torch.cuda.get_device_name() if device == "cuda" else device,
                          "gradient_error": worst[0], "iteration": worst[1], "of_the_golden": golden[0],
                          "golden_iteration": golden[1]}), flush=True)


if __name__ == "__main__":
    main()
