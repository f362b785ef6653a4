#!/usr/bin/env python3
"""Makes the corpora that fuzzing begins from: corpus/TARGET/NAME, small and committed. Run it by the venv of
deploy/setup.sh --tests when a target or a message has changed; what fuzzing found stays there as found-*."""
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def stubs():
    folder = tempfile.mkdtemp()
    protos = [str(path) for path in (ROOT / "proto/mantissa/v1").glob("*.proto")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={folder}", *protos],
                   check=True)
    sys.path.insert(0, folder)


stubs()
import yaml  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from mantissa.v1 import (job_pb2, job_service_pb2, telemetry_pb2, trainer_frame_pb2,  # noqa: E402
                         worker_service_pb2)


def write(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def specs():
    found = {}
    for path in sorted((ROOT / "client/examples").rglob("*.yaml")):
        text = re.sub(r"\b(\d+)GiB\b", lambda size: str(int(size[1]) << 30), path.read_text())  # as `mantissa` reads it
        found[path.stem] = json_format.ParseDict(yaml.safe_load(text), job_pb2.JobSpec())
    return found


def segment(first, count):
    made = telemetry_pb2.Segment(first_attempt_sequence=first, count=count, attempt=1)
    columns = made.records.columns
    for standard in ("ITERATION", "STEP"):
        columns.add(standard=standard).integers.values.extend(range(first, first + count))
    columns.add(standard="LOSS").doubles.values.extend(1 / (first + i) for i in range(count))
    norms = columns.add(standard="GRAD_NORM")
    norms.doubles.values.extend(0.5 for _ in range(count - 1))
    norms.present = ((1 << (count - 1)) - 1).to_bytes((count + 7) // 8, "little")
    return made


def batch():
    made = trainer_frame_pb2.TelemetryBatch(segments=[segment(1, 9), segment(10, 3)])
    gap = made.segments.add(first_attempt_sequence=13, count=1, attempt=1)
    getattr(gap, "gap").SetInParent()
    event = made.segments.add(first_attempt_sequence=14, count=1, attempt=1)
    event.event.SetInParent()
    return made


def report(*attempts):
    made = worker_service_pb2.SynchronizeRequest(host_name="host", version="1", attempts=attempts)
    made.labels["zone"] = "a"
    made.roots.add(name="checkpoints", storage_id="01234567-0123-4123-8123-0123456789ab", writable=True)
    return made


def asks(*requests):
    """As requests.cc reads them: kind, length, bytes."""
    return b"".join(bytes([kind]) + struct.pack("<H", len(data)) + data
                    for kind, data in ((kind, message.SerializeToString()) for kind, message in requests))


def requests():
    submit, update, synchronize, telemetry, checkpoint, artifact, cancel = range(7)
    spec = specs()["digits_fp16"]
    running = worker_service_pb2.AttemptReport(state="RUNNING", iteration=3, step=3)
    failed = worker_service_pb2.AttemptReport(state="FAILED", reason="NUMERICAL_FAILURE" if
                                              "NUMERICAL_FAILURE" in job_pb2.Reason.Code.keys() else 1, message="why")
    ended = worker_service_pb2.AttemptReport(state="SUCCEEDED", reason="COMPLETED", last_attempt_sequence=14)
    ended.artifacts.add(name="model.safetensors", size_bytes=3, sha256="0" * 64)
    saved = job_pb2.Checkpoint(job_id="01arz3ndektsv4rrffq69g5001", attempt=1, step=2, iteration=2,
                               name="attempt-0001/step-00000002", storage_id="s", size_bytes=10,
                               path="01arz3ndektsv4rrffq69g5001/attempt-0001/step-00000002", manifest_sha256="0" * 64)
    kept = ended.artifacts[0]
    published = worker_service_pb2.PublishTelemetryRequest(segments=batch().segments)
    write("requests", "submit", asks((submit, job_service_pb2.SubmitJobRequest(spec=spec, request_id="r"))))
    write("requests", "life", asks((synchronize, report(running)), (telemetry, published),
                                   (checkpoint, worker_service_pb2.CommitCheckpointRequest(checkpoint=saved)),
                                   (synchronize, report(ended)),
                                   (artifact, worker_service_pb2.UploadArtifactRequest(artifact=kept))))
    write("requests", "failure", asks((synchronize, report(failed)), (synchronize, report(running))))
    write("requests", "update", asks((update, job_pb2.JobSpec(priority=5)), (cancel, job_service_pb2.CancelJobRequest()),
                                     (synchronize, report(running))))


def frame(message):
    data = message.SerializeToString()
    return struct.pack("<I", len(data)) + data


def frames():
    report_ = trainer_frame_pb2.TrainerReport
    hello = report_(hello=trainer_frame_pb2.Hello(protocol_min=1, protocol_max=1, features=["model.mlp"]))
    bound = report_(bound=trainer_frame_pb2.Bound(sandbox_level="full"))
    ended = report_(ended=trainer_frame_pb2.AttemptEnded(job_id="j", attempt=1, artifact_paths=["j/a"]))
    write("frames", "conversation", b"".join(frame(each) for each in (hello, bound, report_(telemetry=batch()), ended)))
    command = trainer_frame_pb2.TrainerCommand
    bind = command(bind=trainer_frame_pb2.Bind(tenant="t", required_sandbox_level="full"))
    run = command(run=trainer_frame_pb2.RunAttempt(job_id="j", attempt=1, spec=specs()["digits_fp16"]))
    write("frames", "commands", frame(bind) + frame(run))
    write("frames", "cut", frame(hello)[:-1])
    write("frames", "long", struct.pack("<I", 1 << 25))
    write("frames", "empty", struct.pack("<I", 0) * 3)


def safetensors():
    header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
              "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]}}
    for name, change in {"good": {}, "overlap": {"b": {"dtype": "BF16", "shape": [1], "data_offsets": [6, 8]}},
                         "large": {"b": {"dtype": "F64", "shape": [1 << 62, 8], "data_offsets": [8, 10]}}}.items():
        text = json.dumps(header | change).encode()
        write("safetensors", name, struct.pack("<Q", len(text)) + text + bytes(10))
    write("safetensors", "header_too_long", struct.pack("<Q", 1 << 60) + b"{}")


def files():
    write("idx", "labels", bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + b"\7\2")
    write("idx", "images", bytes([0, 0, 8, 3]) + struct.pack(">III", 1, 2, 3) + bytes(6))
    write("idx", "large", bytes([0, 0, 8, 4]) + struct.pack(">IIII", *[0xffffffff] * 4))
    for name, magic, version, kind in (("gpt2", 20240520, 1, "H"), ("llama3", 20240801, 7, "I")):
        numbers = [magic, version, 3] + [0] * 253
        write("tokens", name, b"\xff\xff" + struct.pack("<256i", *numbers) + struct.pack(f"<3{kind}", 1, 2, 3))
    write("tokens", "negative", b"\xff\xff" + struct.pack("<256i", 20240520, 1, -1, *[0] * 253))
    write("settings", "all", b"text: x\nchoice: two\nflag: true\nnumber: 7\nreal: 1.5\ntime: 2s\nbytes: 4KiB\n"
                             b"list: [p, q]\n")
    write("settings", "odd", b"list:\n  - 'a,b'\n  - \"\\n\"\ntext: &a [*a]\nnumber: 1e3\nunknown: {a: {b: c}}\n")
    write("telemetry_segment", "batch", batch().SerializeToString())
    write("trainer_reports", "batch", batch().SerializeToString())
    message = batch().segments[2].SerializeToString()
    write("telemetry_chunk", "message", bytes([1, len(message)]) + message)
    write("telemetry_chunk", "records", bytes([0, 1, 1, 1, 1, 1, 1]))
    write("page_token", "empty", b"")
    write("page_token", "id", b"01arz3ndektsv4rrffq69g5fav")


def manifest():
    text = json.dumps({"files": [{"name": "model.safetensors", "size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}],
                       "job_id": "01arz3ndektsv4rrffq69g5fav", "attempt": 1, "step": 2, "iteration": 2})
    write("manifest", "short", text.encode())
    # One that a trainer wrote, if the goldens have any.
    for path in sorted((ROOT / "tests/golden").rglob("MANIFEST.json"))[:2]:
        write("manifest", path.parent.name, path.read_bytes())


if __name__ == "__main__":
    for name, spec in specs().items():
        write("job_spec", name, spec.SerializeToString())
    write("job_spec", "empty", b"")
    requests()
    frames()
    safetensors()
    files()
    manifest()
