"""The real programs on loopback, on ports and in folders of their own, for the service benchmarks; and what they are
measured beside: a server that does the least, and the disk itself."""
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from trainer_client import ROOT  # generates the stubs
import grpc

from mantissa.v1 import admin_service_pb2, admin_service_pb2_grpc, job_service_pb2_grpc


# Where what must be durable is written: to a disk, and to memory, where that costs nothing and the rest is seen.
FOLDERS = {"disk": tempfile.gettempdir(), "memory": "/dev/shm"}


def measured(server, client, warm_up, arguments):
    """What `client` prints of `server`, which has run for a moment by then; it is closed."""
    command = [str(client), server.address]
    try:
        subprocess.run([*command, *map(str, warm_up)], check=True, stdout=subprocess.DEVNULL)
        run = subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True, text=True)
    finally:
        server.close()
    return json.loads(run.stdout)


class Service:
    def __init__(self, binaries, worker=True, on="disk", data=None):
        """`data`: a server's folder that is there already, and stays."""
        self.binaries = binaries
        self.temporary = tempfile.TemporaryDirectory(prefix="mantissa-bench-", dir=FOLDERS[on])
        self.folder = pathlib.Path(self.temporary.name)
        address_file = self.folder / "address"
        self.log = open(self.folder / "log", "w")
        self.server = subprocess.Popen([str(binaries / "mantissa-server"), "--listen", "127.0.0.1:0", "--metrics-listen",
                                        "127.0.0.1:0", "--data-dir", str(data or self.folder / "server"),
                                        "--address-file", str(address_file)], stderr=self.log)
        # The API's line; metrics have the second.
        self.address = _until(lambda: address_file.exists() and address_file.read_text().split()).pop(0)
        self.channel = grpc.insecure_channel(self.address)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.worker = None
        if worker:
            self.start_worker()

    def start_worker(self):
        self.worker = subprocess.Popen([str(self.binaries / "mantissa-worker"), "--server", self.address,
                                        "--metrics-listen", "127.0.0.1:0", "--state-dir", str(self.folder / "worker"),
                                        "--root", f"data={ROOT}/client/examples"], stderr=self.log)
        admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)
        _until(lambda: any(worker.connected for worker in
                           admin.ListWorkers(admin_service_pb2.ListWorkersRequest(), wait_for_ready=True).workers))

    def close(self):
        for process in filter(None, (self.worker, self.server)):
            process.terminate()
            process.wait(timeout=60)
        self.temporary.cleanup()


class Floor:
    """The least that submits and dispatches can cost: service/floor_server.cc."""

    def __init__(self, binaries, on="disk"):
        self.folder = tempfile.TemporaryDirectory(prefix="mantissa-floor-", dir=FOLDERS[on])
        self.server = subprocess.Popen([str(binaries / "bench_floor_server"), self.folder.name], stdout=subprocess.PIPE,
                                       text=True)
        self.address = f"127.0.0.1:{int(self.server.stdout.readline())}"

    def close(self):
        self.server.kill()
        self.server.wait()
        self.folder.cleanup()


def fdatasync_ms(on="disk", writes=500, size=8192):
    """Median of overwriting a few pages of a file and making them durable, as a commit to a WAL does."""
    with tempfile.TemporaryFile(dir=FOLDERS[on]) as file:
        file.write(bytes(writes * size))
        file.flush()
        os.fsync(file.fileno())
        times = []
        for i in range(writes):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), bytes([i % 256]) * size, i * size)
            os.fdatasync(file.fileno())
            times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise RuntimeError("the service did not come up")
