"""Real programs on loopback: every test gets its own server, workers and folders, on ports the system chose."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import grpc
import pytest

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("MANTISSA_BIN_DIR", ROOT / "build/release/bin"))
EXAMPLES = ROOT / "client/examples"


def pytest_configure(config):
    """Stubs made from proto/ as any user would make them: the client under test is not ours."""
    folder = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release")) / "integration-stubs"
    work = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    protos = [str(path) for path in (ROOT / "proto/mantissa/v1").glob("*.proto")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={work}",
                    f"--grpc_python_out={work}", *protos], check=True)
    sys.path.insert(0, str(work))
    config.add_cleanup(lambda: shutil.rmtree(work, ignore_errors=True))


def until(condition, what, seconds=60.0):
    """Waits for a condition, looking at it often; its value when it is true."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Program:
    """One process of ours, its stderr in a file that a failing test prints."""

    def __init__(self, name, arguments, folder, **variables):
        self.name, self.log_path = name, folder / f"{name}.log"
        self.log = open(self.log_path, "a")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MANTISSA_")} | variables
        self.process = subprocess.Popen([str(BIN / arguments[0]), *map(str, arguments[1:])], stdout=self.log,
                                        stderr=self.log, env=environment, start_new_session=True)

    @property
    def running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=60):
        """SIGTERM and the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def log_text(self):
        return self.log_path.read_text(errors="replace")


class Cluster:
    """A server, and workers as a test asks for them. Lease and calls are a tenth of what they are by default."""

    LEASE, NEXT_CALL = "3s", "500ms"
    CHANNEL_OPTIONS = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.use_local_subchannel_pool", 1)]

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        shutil.copytree(EXAMPLES / "digits", self.data / "digits")
        self.checkpoints = folder / "checkpoints"
        self.checkpoints.mkdir()
        self.server, self.workers, self.address, self.metrics = None, {}, None, None
        self.channels = []

    def launch_server(self, program="mantissa-server", **variables):
        """The first start takes free ports; a restart takes the same, as an operator's would. Does not wait for it."""
        address_file = self.folder / "address"
        address_file.unlink(missing_ok=True)
        listen, metrics = self.address or "127.0.0.1:0", self.metrics or "127.0.0.1:0"
        self.server = Program("server", [program, "--listen", listen, "--metrics-listen", metrics, "--data-dir",
                                         self.folder / "server", "--address-file", address_file, "--lease", self.LEASE,
                                         "--next-call", self.NEXT_CALL], self.folder, **variables)

    def start_server(self, *program, **variables):
        self.launch_server(*program, **variables)
        lines = until(lambda: self._addresses(self.folder / "address"), "the server says its addresses")
        self.address, self.metrics = lines[0], lines[1]

    def _addresses(self, path):
        if not self.server.running:
            raise AssertionError(f"the server ended:\n{self.server.log_text()}")
        lines = path.read_text().split() if path.exists() else []
        return lines if len(lines) >= 2 else None

    def start_worker(self, name="ws-1", server=None, **variables):
        """`server`: the address that the worker is given, where that is not the server's own."""
        worker = self.launch_worker(name, server, **variables)
        until(lambda: any(w.id == name and w.connected for w in self.admin().ListWorkers(
            self.pb("admin_service").ListWorkersRequest()).workers), f"worker {name} is connected")
        return worker

    def launch_worker(self, name, server=None, **variables):
        """The same without waiting for it."""
        self.workers[name] = Program(name, ["mantissa-worker", "--server", server or self.address, "--metrics-listen",
                                            "127.0.0.1:0", "--state-dir", self.folder / name, "--worker-id", name,
                                            "--root", f"data={self.data}", "--root",
                                            f"checkpoints={self.checkpoints}"], self.folder,
                                     **variables)
        return self.workers[name]

    @staticmethod
    def pb(name):
        import importlib
        return importlib.import_module(f"mantissa.v1.{name}_pb2")

    def channel(self):
        channel = grpc.insecure_channel(self.address, options=self.CHANNEL_OPTIONS)
        self.channels.append(channel)
        return channel

    def jobs(self):
        from mantissa.v1 import job_service_pb2_grpc
        return job_service_pb2_grpc.JobServiceStub(self.channel())

    def admin(self):
        from mantissa.v1 import admin_service_pb2_grpc
        return admin_service_pb2_grpc.AdminServiceStub(self.channel())

    def digits(self, iterations=200, precision="FP16", **training):
        """A JobSpec that trains the digits MLP."""
        spec = self.pb("job").JobSpec(name="digits")
        spec.training.model.mlp.hidden.append(128)
        spec.training.data.train.idx.images = "digits/train-images.idx"
        spec.training.data.train.idx.labels = "digits/train-labels.idx"
        spec.training.precision.mode = precision
        spec.training.iterations = iterations
        spec.training.checkpoint.every_steps = training.get("checkpoint_every", 0)
        spec.retry.initial_backoff.nanos = 100_000_000
        return spec

    def diverging(self):
        """A learning rate of 1000 drives four layers to NaN within a few steps, and the job fails of it."""
        spec = self.digits(iterations=200, precision="FP32")
        spec.training.model.mlp.hidden[:] = [64, 64, 64, 64]
        spec.training.optimizer.sgd.learning_rate = 1000
        spec.training.optimizer.sgd.momentum = 0.9
        spec.training.max_grad_norm = 0
        return spec

    def submit(self, spec):
        return self.jobs().SubmitJob(self.pb("job_service").SubmitJobRequest(spec=spec), wait_for_ready=True)

    def get(self, job_id):
        return self.jobs().GetJob(self.pb("job_service").GetJobRequest(job_id=job_id), wait_for_ready=True)

    def wait_state(self, job_id, *states, seconds=60):
        wanted = {self.pb("job").Job.State.Value(state) for state in states}
        return until(lambda: (lambda job: job if job.state in wanted else None)(self.get(job_id)),
                     f"job {job_id} is {' or '.join(states)}", seconds)

    def wait_iteration(self, job_id, iteration):
        return until(lambda: (lambda job: job if job.progress.iteration >= iteration else None)(self.get(job_id)),
                     f"job {job_id} reaches iteration {iteration}")

    def cli(self, *arguments, seconds=120, address=None, **more):
        environment = {**os.environ, "MANTISSA_ADDRESS": address or self.address, "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        return subprocess.run([str(BIN / "mantissa"), *map(str, arguments)], capture_output=True, text=True,
                              timeout=seconds, env=environment, **more)

    @staticmethod
    def processes(program):
        """A program and all that it has started: its pids and their command lines."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    parents[int(entry.name)] = (int(fields[1]), (entry / "cmdline").read_bytes())
                except OSError:
                    continue

        def belongs(pid):
            while pid in parents:
                if pid == program.process.pid:
                    return True
                pid = parents[pid][0]
            return False

        return {pid: line for pid, (_, line) in parents.items() if belongs(pid)}

    def trainer_pids(self, worker):
        """Trainers that belong to a worker: those in its tree of processes."""
        return [pid for pid, line in self.processes(worker).items() if b"mantissa-trainer" in line.split(b"\0")[0]]

    def close(self):
        for channel in self.channels:
            channel.close()
        for program in [*self.workers.values(), self.server]:
            if program is not None and program.running:
                program.kill()


@contextlib.contextmanager
def closing(cluster):
    """Closes it at the end, and shows the end of what its programs said."""
    try:
        yield cluster
    finally:
        cluster.close()
        for program in [cluster.server, *cluster.workers.values()]:
            if program is not None:
                print(f"---- {program.name}\n{program.log_text()[-6000:]}")


@pytest.fixture
def cluster(tmp_path, request):
    """A running server without workers."""
    with closing(Cluster(tmp_path)) as it:
        it.start_server()
        yield it


def watch(cluster, job_id, **request):
    """All segments of a watch to its end, and its frames; checks order and covers on the way."""
    frames, segments, next_sequence = [], [], None
    for frame in cluster.jobs().WatchJob(cluster.pb("job_service").WatchJobRequest(job_id=job_id, **request),
                                         wait_for_ready=True):
        frames.append(frame)
        if frame.HasField("covers"):
            assert next_sequence in (None, frame.covers.from_field if hasattr(frame.covers, "from_field")
                                     else getattr(frame.covers, "from")), "covers are contiguous"
            next_sequence = frame.covers.to + 1
        segments.extend(frame.segments)
        if frame.end:
            break
    return frames, segments


def sequences(segments):
    """Every sequence number that the segments take, in order."""
    return [number for segment in segments for number in range(segment.first_sequence,
                                                               segment.first_sequence + segment.count)]


def iterations(cluster, segments):
    """(attempt, iteration) of every record."""
    standard = cluster.pb("telemetry").Column.ITERATION
    return [(segment.attempt, value) for segment in segments for column in segment.records.columns
            if column.standard == standard for value in column.integers.values]
