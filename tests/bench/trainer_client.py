"""Drives one mantissa-trainer over its frame protocol, without agent and server."""
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_protos():
    """Python classes of the messages, generated from proto/ into a temporary folder."""
    folder = tempfile.mkdtemp(prefix="mantissa-protos-")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={folder}",
                    f"--grpc_python_out={folder}", *map(str, (ROOT / "proto/mantissa/v1").glob("*.proto"))], check=True)
    sys.path.insert(0, folder)


load_protos()
from mantissa.v1 import job_pb2, telemetry_pb2, trainer_frame_pb2  # noqa: E402

Column = telemetry_pb2.Column


class Trainer:
    def __init__(self, binary, data_root, checkpoint_root, environment=None):
        ours, theirs = socket.socketpair()
        self.socket = ours
        self.process = subprocess.Popen(
            [str(binary), "--frames-fd", str(theirs.fileno()), "--device", "cpu"], pass_fds=[theirs.fileno()],
            env=environment, stderr=subprocess.DEVNULL)
        theirs.close()
        self.buffer = b""
        self.attempts = 0
        command = trainer_frame_pb2.TrainerCommand()
        command.hello.protocol_min = command.hello.protocol_max = 1
        self.send(command)
        self.hello = self.receive().hello
        command = trainer_frame_pb2.TrainerCommand()
        command.bind.tenant = "default"
        for name, path, writable in (("data", data_root, False), ("checkpoints", checkpoint_root, True)):
            command.bind.roots.add(name=name, path=str(path), writable=writable)
        command.bind.device.CopyFrom(self.hello.devices[0])
        self.send(command)
        bound = self.receive().bound
        if bound.error:
            raise RuntimeError(bound.error)

    def send(self, command):
        data = command.SerializeToString()
        self.socket.sendall(struct.pack("<I", len(data)) + data)

    def receive(self):
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack_from("<I", self.buffer)[0]:
            data = self.socket.recv(1 << 20)
            if not data:
                raise RuntimeError(f"the trainer ended with {self.process.wait()}")
            self.buffer += data
        size = struct.unpack_from("<I", self.buffer)[0]
        report = trainer_frame_pb2.TrainerReport.FromString(self.buffer[4 : 4 + size])
        self.buffer = self.buffer[4 + size :]
        return report

    def run(self, spec):
        """Runs one attempt to its end. Returns (AttemptEnded, segments)."""
        self.attempts += 1
        command = trainer_frame_pb2.TrainerCommand()
        command.run.job_id = f"bench{self.attempts:021d}"
        command.run.attempt = 1
        command.run.spec.CopyFrom(spec)
        self.send(command)
        segments = []
        while True:
            report = self.receive()
            kind = report.WhichOneof("body")
            if kind == "telemetry":
                segments.extend(report.telemetry.segments)
            elif kind == "checkpoint_saved":
                answer = trainer_frame_pb2.TrainerCommand()
                answer.checkpoint_committed.name = report.checkpoint_saved.checkpoint.name
                self.send(answer)
            elif kind == "ended":
                if report.ended.state != job_pb2.Attempt.SUCCEEDED:
                    raise RuntimeError(report.ended.message)
                return report.ended, segments

    def close(self):
        self.socket.close()
        self.process.wait(timeout=10)


def column(segments, standard):
    """All values of one standard column, in order."""
    values = []
    for segment in segments:
        for entry in segment.records.columns:
            if entry.standard == standard:
                kind = entry.WhichOneof("values")
                values.extend(getattr(entry, kind).values)
    return values
