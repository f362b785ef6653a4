"""Blows that several tests deal, and what they look at afterwards."""
import hashlib
import os
import signal

from conftest import iterations, sequences, watch


def kill(pids):
    """SIGKILL; those that have gone by themselves meanwhile are gone."""
    signal_all(pids, signal.SIGKILL)


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def alive(pids):
    """Those that still do something: a zombie waits only for its parent."""
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def short_job(cluster, iterations, **training):
    """A digits job whose iterations are quick, and that a retry does not keep waiting."""
    spec = cluster.digits(iterations=iterations, precision="FP32", **training)
    spec.training.batch_size = 16
    spec.retry.max_attempts = 1000
    spec.retry.max_backoff.nanos = 200_000_000
    return spec


def endless_job(cluster, **training):
    return short_job(cluster, iterations=500_000_000, **training)


def attempts_of(cluster, job_id):
    """From the first to the newest."""
    request = cluster.pb("job_service").ListAttemptsRequest(job_id=job_id, page_size=1000)
    return list(reversed(cluster.jobs().ListAttempts(request, wait_for_ready=True).attempts))


def checkpoints_of(cluster, job_id):
    """From the first to the newest."""
    request = cluster.pb("job_service").ListCheckpointsRequest(job_id=job_id, page_size=1000)
    listed = cluster.jobs().ListCheckpoints(request, wait_for_ready=True).checkpoints
    return sorted(listed, key=lambda checkpoint: (checkpoint.iteration, checkpoint.attempt))


def manifest_is_whole(cluster, checkpoint):
    """The committed checkpoint is where its row says, with the manifest that was committed."""
    manifest = cluster.checkpoints / checkpoint.path / "MANIFEST.json"
    return manifest.exists() and hashlib.sha256(manifest.read_bytes()).hexdigest() == checkpoint.manifest_sha256


def cancel(cluster, job_id):
    cluster.jobs().CancelJob(cluster.pb("job_service").CancelJobRequest(job_id=job_id), wait_for_ready=True)
    return cluster.wait_state(job_id, "CANCELLED")


def check_resumed(cluster, job_id):
    """Of a job in its second attempt: that began where the newest committed checkpoint of the first ends, and trains;
    and what was told of the first stands. Ends the job."""
    first, second = attempts_of(cluster, job_id)
    states = cluster.pb("job").Attempt
    assert first.state in (states.LOST, states.FAILED, states.STOPPED), first
    of_first = [it for it in checkpoints_of(cluster, job_id) if it.attempt == 1]
    newest = of_first[-1]
    assert second.resumed_from == newest.name and manifest_is_whole(cluster, newest)
    cluster.wait_iteration(job_id, newest.iteration + 100)
    cancel(cluster, job_id)
    _, segments = watch(cluster, job_id)
    numbers, history = sequences(segments), iterations(cluster, segments)
    assert numbers == list(range(1, len(numbers) + 1))
    before = [number for attempt, number in history if attempt == 1]
    after = history[len(before):]
    # Records travel beside checkpoints: where a link is cut, those since the one before the newest may be on their way.
    told = of_first[-2].iteration if len(of_first) > 1 else 0
    assert before == list(range(1, len(before) + 1)) and len(before) >= told
    assert after == [(2, newest.iteration + number) for number in range(1, len(after) + 1)]


def reason_of(error):
    """The reason in the details of a status, such as LEASE_LOST."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None
