"""A trainer shuts itself in before it touches a job: one gone bad gets nowhere, and trains all the same."""
import errno
import subprocess

import pytest

from conftest import BIN, until

ESCAPING = BIN / "mantissa-trainer-escaping"
# What a forbidden system call or file answers.
REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS}


def need_full_sandbox(tmp_path):
    """Skips where this kernel lacks a measure: the worker itself says which."""
    asked = subprocess.run([str(BIN / "mantissa-worker"), "--require-sandbox", "full", "--trainer", "/nowhere",
                            "--state-dir", str(tmp_path / "asked")], capture_output=True, text=True, timeout=60)
    if "this kernel offers" in asked.stderr:
        pytest.skip(f"SKIPPED: {asked.stderr.strip()}")


def trials(log):
    """{who: {trial: errno}} of what the escaping trainer printed."""
    found = {}
    for line in log.splitlines():
        words = line.split()
        if words[:1] == ["CONTROL"]:
            found.setdefault("control", {})[words[1]] = int(words[2])
        elif words[:1] == ["ESCAPE"]:
            found.setdefault(words[1], {})[words[2]] = int(words[3])
    return found


def stdout_of(cluster, job_id):
    request = cluster.pb("job_service").ReadLogsRequest(job_id=job_id, stream="STDOUT")
    return b"".join(frame.data for frame in cluster.jobs().ReadLogs(request)).decode()


def level(cluster):
    workers = cluster.admin().ListWorkers(cluster.pb("admin_service").ListWorkersRequest()).workers
    return {worker.id: worker.sandbox_level for worker in workers}


def digits_with_everything(cluster):
    spec = cluster.digits(iterations=200, checkpoint_every=50)
    spec.training.data.eval.idx.images = "digits/test-images.idx"
    spec.training.data.eval.idx.labels = "digits/test-labels.idx"
    return spec


def test_a_trainer_gone_bad_gets_nowhere_and_trains_all_the_same(cluster, tmp_path):
    need_full_sandbox(tmp_path)
    secret = cluster.folder / "server/mantissa.db"
    assert secret.exists(), "the server's database is where the trainer is sent"
    before = secret.stat()
    worker = cluster.start_worker(MANTISSA_TRAINER=str(ESCAPING), MANTISSA_REQUIRE_SANDBOX="full",
                                  TORCH_ESCAPE_SECRET=str(secret),
                                  TORCH_ESCAPE_DATA=str(cluster.data / "digits/test-labels.idx"))
    assert level(cluster) == {"ws-1": "full"}
    job = cluster.submit(digits_with_everything(cluster))
    ended = cluster.wait_state(job.id, "SUCCEEDED", "FAILED")
    found = until(lambda: trials(stdout_of(cluster, job.id)), "the log has what the trainer tried")

    # Before it was bound it could do all of this: what fails later is the sandbox's doing.
    assert len(found["control"]) >= 15
    assert {name: code for name, code in found["control"].items() if code != 0} == {}
    # The thread that trains, and one that was there before the sandbox.
    assert found.keys() == {"control", "trainer", "bystander"}
    assert len(found["trainer"]) >= 30 and found["trainer"].keys() == found["bystander"].keys()
    assert found["control"].keys() <= found["trainer"].keys()
    for who in ("trainer", "bystander"):
        assert {name: errno.errorcode.get(code, code) for name, code in found[who].items() if code not in REFUSED} == {}
    after = secret.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode) and after.st_size > 0
    assert [path.name for path in secret.parent.iterdir() if path.suffix in {".link", ".symlink", ".folder"}] == []

    # And it trained, evaluated, saved and exported.
    assert cluster.pb("job").Job.State.Name(ended.state) == "SUCCEEDED", ended.state_message
    assert ended.result.eval_accuracy > 0.8
    listed = cluster.jobs().ListCheckpoints(cluster.pb("job_service").ListCheckpointsRequest(job_id=job.id))
    assert len(listed.checkpoints) >= 2
    until(lambda: [a.name for a in cluster.jobs().ListArtifacts(
        cluster.pb("job_service").ListArtifactsRequest(job_id=job.id)).artifacts], "the model is uploaded")
    assert level(cluster) == {"ws-1": "full"}

    # The same process serves the tenant's next job, and resumes from what the first one saved.
    pids = cluster.trainer_pids(worker)
    again = cluster.submit(digits_with_everything(cluster))
    cluster.wait_state(again.id, "SUCCEEDED")
    assert cluster.trainer_pids(worker) == pids and len(pids) == 1


def test_a_worker_whose_trainers_reach_less_than_required_runs_nothing(cluster, tmp_path):
    need_full_sandbox(tmp_path)
    asked = subprocess.run([str(BIN / "mantissa-worker"), "--require-sandbox", "most"], capture_output=True, text=True,
                           timeout=60)
    assert asked.returncode == 2
    assert "require-sandbox" in asked.stderr and "landlock" in asked.stderr
