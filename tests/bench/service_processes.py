"""A real server and worker on loopback, on ports of their own, for the service benchmarks."""
import pathlib
import subprocess
import tempfile
import time

from trainer_client import ROOT  # generates the stubs
import grpc

from mantissa.v1 import admin_service_pb2, admin_service_pb2_grpc, job_service_pb2_grpc


class Service:
    def __init__(self, binaries, worker=True):
        self.folder = tempfile.TemporaryDirectory(prefix="mantissa-bench-")
        folder = pathlib.Path(self.folder.name)
        address_file = folder / "address"
        self.log = open(folder / "log", "w")
        self.server = subprocess.Popen([str(binaries / "mantissa-server"), "--listen", "127.0.0.1:0", "--metrics-listen",
                                        "127.0.0.1:0", "--data-dir", str(folder / "server"), "--address-file",
                                        str(address_file)], stderr=self.log)
        # The API's line; metrics have the second.
        self.address = _until(lambda: address_file.exists() and address_file.read_text().split()).pop(0)
        self.worker = None
        if not worker:
            return
        self.worker = subprocess.Popen([str(binaries / "mantissa-worker"), "--server", self.address, "--metrics-listen",
                                        "127.0.0.1:0", "--state-dir", str(folder / "worker"), "--root",
                                        f"data={ROOT}/client/examples"], stderr=self.log)
        self.channel = grpc.insecure_channel(self.address)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)
        _until(lambda: any(worker.connected for worker in
                           admin.ListWorkers(admin_service_pb2.ListWorkersRequest(), wait_for_ready=True).workers))

    def close(self):
        for process in filter(None, (self.worker, self.server)):
            process.terminate()
            process.wait(timeout=60)
        self.folder.cleanup()


def _until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise RuntimeError("the service did not come up")
