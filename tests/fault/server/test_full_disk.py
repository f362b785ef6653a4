"""A disk that is full: submits are refused and say when to come back, what is stored is served, running work goes on, and
the server takes up writing by itself when there is room again."""
import os
import sqlite3
import subprocess
import time

import grpc
import pytest

from conftest import Cluster, until
from observed import text_of, value_in


class SmallDisk(Cluster):
    """The server's folder is a disk of its own, of six megabytes."""

    def __init__(self, folder):
        super().__init__(folder)
        self.disk = folder / "server"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", self.disk], check=True)

    def close(self):
        super().close()
        subprocess.run(["umount", "--lazy", self.disk], check=True)


@pytest.fixture
def small(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        it = SmallDisk(tmp_path)
    except subprocess.CalledProcessError:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        it.start_server()
        yield it
    finally:
        it.close()


def submit_until(cluster, code):
    """The error that a submit gets at last."""
    for _ in range(2_000):
        try:
            cluster.submit(cluster.digits(iterations=10))
        except grpc.RpcError as error:
            assert error.code() == code, error
            return error
    raise AssertionError("the disk is never full")


def test_a_full_disk_is_told_reads_go_on_and_it_recovers_by_itself(small):
    small.start_worker()
    running = small.submit(small.digits(iterations=200_000))
    small.wait_iteration(running.id, 500)
    filler = small.disk / "filler"
    with open(filler, "wb", buffering=0) as file:  # a buffer would be written once more when it is closed
        while True:
            try:
                file.write(b"x" * 65536)
            except OSError:
                break
    error = submit_until(small, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert any(key == "google.rpc.retryinfo-bin" or "grpc-status-details" in key
               for key, _ in error.trailing_metadata()), "it says when to come back"
    from google.rpc import error_details_pb2
    from google.rpc import status_pb2
    details = next(value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    kinds = [any_.type_url.rsplit(".", 1)[-1] for any_ in status_pb2.Status.FromString(details).details]
    assert "RetryInfo" in kinds and error_details_pb2.RetryInfo, kinds
    assert read_only(small)

    end = time.monotonic() + 2 * 3  # twice the lease of this cluster
    while time.monotonic() < end:
        assert small.get(running.id).state == small.pb("job").Job.RUNNING, "reads go on, and no lease ends"
        workers = small.admin().ListWorkers(small.pb("admin_service").ListWorkersRequest()).workers
        assert [worker.id for worker in workers] == ["ws-1"]
        time.sleep(0.2)
    filler.unlink()
    began = time.monotonic()
    until(lambda: works(small), "submits are taken again", 10)
    assert not read_only(small)
    print(f"recovered {time.monotonic() - began:.1f} s after there was room")
    done = small.get(running.id)
    assert done.attempt == 1 and done.state == small.pb("job").Job.RUNNING, done.state_message
    small.server.terminate()
    database = sqlite3.connect(small.disk / "mantissa.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def read_only(cluster):
    return value_in(text_of(cluster.metrics), "mantissa_store_read_only") == 1


def works(cluster):
    try:
        return cluster.submit(cluster.digits(iterations=10)).id
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
        return None
