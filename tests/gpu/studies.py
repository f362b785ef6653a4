"""Every example study on one kind of device, and on a GPU also those of sizes that a GPU is bought for, through a server
and a worker on loopback. Keeps each report as JSON and as it is read, NAME.json and NAME.txt."""
import argparse
import contextlib
import json
import pathlib
import sys
import tempfile

from first_job import EXAMPLES, Service

# The seed's transformer layer, and GPT-2's smallest model.
LAYER = """
      model: { transformer_encoder: { layers: 1, d_model: 1024, heads: 16 } }
      data: { train: { synthetic: { samples: 256, shape: [512, 1024], classes: 1000 } } }
      optimizer: { adamw: { learning_rate: 1e-4 } }
      batch_size: 32"""
GPT2 = """
      model: { gpt: { layers: 12, d_model: 768, heads: 12, context: 1024 } }
      data: { train: { synthetic: { samples: 64, classes: 50257 } } }
      optimizer: { adamw: { learning_rate: 3e-4 } }
      batch_size: 8"""
LARGE = {
    "layer_32x512_precisions": f"""
study:
  precision_comparison:
    training:{LAYER}
      iterations: 60
    precisions: [FP32, TF32, BF16, FP16]
    seeds: 2
    warm_up_iterations: 10
""",
    "gpt2_124m_precisions": f"""
study:
  precision_comparison:
    training:{GPT2}
      iterations: 40
    precisions: [FP32, TF32, BF16, FP16]
    seeds: 2
    warm_up_iterations: 10
""",
    # Of a GPU's own shapes; the examples' are over before the next is launched.
    "layouts": """
study:
  layout_benchmark: { precisions: [FP32, TF32, BF16, FP16] }
""",
    "tensor_cores": """
study:
  tensor_core: {}
""",
    "layer_32x512_memory": f"""
study:
  memory_plan:
    training:{LAYER}
      iterations: 5
    precisions: [FP32, BF16, FP16]
""",
    "mlp_memory": """
study:
  memory_plan:
    training:
      model: { mlp: { hidden: [4096, 4096, 4096] } }
      data: { train: { synthetic: { samples: 8192, shape: [1024], classes: 1000 } } }
      batch_size: 8192
      iterations: 5
    precisions: [FP32, BF16, FP16]
""",
    "convnet_memory": """
study:
  memory_plan:
    training:
      model: { convnet: { channels: [64, 128] } }
      data: { train: { synthetic: { samples: 512, shape: [3, 32, 32], classes: 10 } } }
      batch_size: 512
      iterations: 5
    precisions: [FP32, BF16, FP16]
""",
    "gpt2_124m_memory": f"""
study:
  memory_plan:
    training:{GPT2}
      iterations: 5
    precisions: [FP32, BF16, FP16]
""",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--device", required=True, choices=["CUDA", "CPU"])
    parser.add_argument("--results", type=pathlib.Path, required=True, help="a folder for the reports")
    parser.add_argument("--only", help="NAME,... instead of all")
    parser.add_argument("--set", action="append", default=[], help="PATH=VALUE, for every study")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    failed = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        service = Service(arguments.bin, pathlib.Path(folder))
        specs = {path.stem: path for path in sorted((EXAMPLES / "studies").glob("*.yaml"))}
        for name, text in LARGE.items() if arguments.device == "CUDA" else ():
            specs[name] = pathlib.Path(folder) / f"{name}.yaml"
            specs[name].write_text(text)
        if arguments.only:
            specs = {name: specs[name] for name in arguments.only.split(",")}
        try:
            service.start_all(stack)
            service.device(arguments.device)
            for name, spec in specs.items():
                code, text = service.ask("submit", spec, "--name", name, "-o", "json",
                                         "--set", f"resources.device={arguments.device}",
                                         *(argument for value in arguments.set for argument in ("--set", value)))
                if code != 0:
                    failed.append(f"{name}, which was not taken")
                    continue
                job = json.loads(text)["id"]
                code, _ = service.ask("wait", job, "--timeout", "4m")
                report = service.ask("report", job, "-o", "json")
                if code != 0 or report[0] != 0:
                    failed.append(f"{name} ({service.ask('get', job)[1]})")
                    continue
                (arguments.results / f"{name}.json").write_text(report[1])
                readable = service.ask("report", job)[1]
                (arguments.results / f"{name}.txt").write_text(readable)
                print(f"==== {name}\n{readable}", flush=True)
        except BaseException:
            service.show_logs()
            raise
        if failed:
            service.show_logs()
    return f"did not succeed: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
