"""Workers that live in Slurm's allocations: real Slurm, real server, real training.

A time limit of Slurm's is a minute at least; a pilot with a margin leaves before it, and that is what is shown."""
import hashlib
import os
import pathlib
import signal
import subprocess

import pytest

from conftest import BIN, ROOT, iterations, until, watch
from slurm_cluster import SlurmCluster, missing

PILOT = ROOT / "deploy/slurm/pilot.sbatch"
KEEP = ROOT / "deploy/slurm/keep_pilots.sh"
LONG = 40_000
# With a limit of a minute and this margin a pilot has twenty-five seconds to work in.
MARGIN = "35s"


@pytest.fixture
def slurm(tmp_path):
    why_not = missing()
    if why_not:
        print(f"SKIPPED: {why_not}")
        pytest.skip(why_not)
    folder = tmp_path / "slurm"
    folder.mkdir()
    it = SlurmCluster(folder)
    try:
        it.start()
        yield it
    finally:
        it.close()
        for name, text in it.logs().items():
            print(f"---- {name}\n{text[-3000:]}")


@pytest.fixture
def settings(cluster, tmp_path):
    """The environment that a user of pilots exports."""
    return {"MANTISSA_SERVER": cluster.address, "MANTISSA_ADDRESS": cluster.address, "TMPDIR": str(tmp_path),
            "MANTISSA_ROOT": f"data={cluster.data},checkpoints={cluster.checkpoints}", "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}"}


def start_pilot(slurm, settings, tmp_path, *options, limit="5", **variables):
    """The number of Slurm's job, and the file of what the pilot says."""
    given = {**settings, **variables}
    done = slurm.run("sbatch", "--parsable", f"--time={limit}", f"--output={tmp_path}/pilot-%j.log", *options, PILOT,
                     **given)
    number = int(done.stdout)
    return number, tmp_path / f"pilot-{number}.log"


def model_of(cluster, job_id, folder):
    """SHA-256 of a job's final parameters."""
    file = folder / f"{job_id}.safetensors"
    done = cluster.cli("download", job_id, "-O", file)
    assert done.returncode == 0, done.stderr
    return hashlib.sha256(file.read_bytes()).hexdigest()


def trainers_of(worker_id):
    """Pids of the trainers below the worker of this id."""
    parents, lines = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue

    def is_below(pid):
        while pid in parents:
            if worker_id.encode() in lines.get(pid, []):
                return True
            pid = parents[pid]
        return False

    return [pid for pid, line in lines.items() if line[0].endswith(b"mantissa-trainer") and is_below(pid)]


def attempts_of(cluster, job_id):
    request = cluster.pb("job_service").ListAttemptsRequest(job_id=job_id)
    return list(reversed(cluster.jobs().ListAttempts(request).attempts))


def test_a_pilot_trains_what_waits_and_leaves_when_nothing_does(slurm, cluster, settings, tmp_path):
    jobs = [cluster.submit(cluster.digits(iterations=200)).id for _ in range(2)]
    number, log = start_pilot(slurm, settings, tmp_path, MANTISSA_PILOT_IDLE="2s")
    for job in jobs:
        done = cluster.wait_state(job, "SUCCEEDED", "FAILED", seconds=120)
        assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
        assert [attempt.placements[0].worker_id for attempt in attempts_of(cluster, job)] == [f"slurm-{number}"]
    ended = slurm.wait_end(number)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), log.read_text()
    assert "--pilot-idle" in log.read_text(), "it says why it left"


def test_a_job_outlives_a_limit_and_ends_with_the_bits_of_one_that_never_stopped(slurm, cluster, settings, tmp_path):
    cluster.start_worker("ws-1")
    whole = cluster.submit(cluster.digits(iterations=LONG)).id
    cluster.wait_state(whole, "SUCCEEDED", seconds=300)
    assert cluster.workers["ws-1"].terminate() == 0

    spec = cluster.digits(iterations=LONG)
    spec.resources.worker_selector["in"] = "slurm"
    job = cluster.submit(spec).id
    first, log = start_pilot(slurm, settings, tmp_path, limit="1", MANTISSA_PILOT_MARGIN=MARGIN,
                             MANTISSA_LABEL="in=slurm")
    cluster.wait_iteration(job, 500)
    # It trains no further before the limit is near, however fast this machine is.
    trainer, = trainers_of(f"slurm-{first}")
    os.kill(trainer, signal.SIGSTOP)
    try:
        until(lambda: "--pilot-margin" in log.read_text(), "it says that it leaves for the limit", 90)
    finally:
        os.kill(trainer, signal.SIGCONT)
    ended = slurm.wait_end(first)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), "before Slurm would have ended it"
    given_back = cluster.get(job)
    assert given_back.state == cluster.pb("job").Job.QUEUED, "the job waits for the next pilot"
    saved = cluster.jobs().ListCheckpoints(cluster.pb("job_service").ListCheckpointsRequest(job_id=job)).checkpoints
    assert saved and 500 <= given_back.progress.iteration < LONG

    second, log = start_pilot(slurm, settings, tmp_path, MANTISSA_PILOT_IDLE="2s", MANTISSA_LABEL="in=slurm")
    done = cluster.wait_state(job, "SUCCEEDED", "FAILED", seconds=300)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    before, after = attempts_of(cluster, job)
    assert before.placements[0].worker_id == f"slurm-{first}" and after.placements[0].worker_id == f"slurm-{second}"
    assert before.state == cluster.pb("job").Attempt.STOPPED
    assert before.reason == cluster.pb("job").Reason.WORKER_STOPPED, "it costs no retry"
    assert after.resumed_from in [checkpoint.name for checkpoint in saved]
    _, segments = watch(cluster, job)
    assert [number for _, number in iterations(cluster, segments)] == list(range(1, LONG + 1)), "each once and in order"
    assert model_of(cluster, job, tmp_path) == model_of(cluster, whole, tmp_path)
    assert slurm.wait_end(second)["ExitCode"] == "0:0"


def keep(slurm, settings, tmp_path, *arguments):
    done = subprocess.run([KEEP, *map(str, arguments), "--", "--time=5", f"--output={tmp_path}/pilot-%j.log", "--hold"],
                          env={**slurm.environment, **settings, "MANTISSA_PILOT_IDLE": "2s"}, capture_output=True,
                          text=True, timeout=120)
    return done


def test_pilots_are_kept_while_jobs_wait_and_no_longer(slurm, cluster, settings, tmp_path):
    def look(*arguments):
        done = keep(slurm, settings, tmp_path, "--once", *arguments)
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.split()]

    assert look(2) == [], "nothing waits"
    spec = cluster.digits(iterations=200)
    spec.labels["team"] = "vision"
    jobs = [cluster.submit(spec).id for _ in range(3)]
    assert look("--label", "team=speech", 2) == [], "nothing of these waits"
    first, = look("--label", "team=vision", 1)
    second, = look(2)
    assert look(2) == [], "no more than asked for"
    assert sorted(slurm.queue("PENDING")) == [first, second]
    third, = look(9)
    assert look(9) == [], "and no more than there are jobs"
    for number in (first, second, third):
        slurm.run("scontrol", "release", number)
    for job in jobs:
        cluster.wait_state(job, "SUCCEEDED", seconds=120)
    for number in (first, second, third):
        assert slurm.wait_end(number)["ExitCode"] == "0:0", (tmp_path / f"pilot-{number}.log").read_text()
    assert look(9) == [], "all is done"


def test_a_keeper_goes_on_when_the_server_is_away(slurm, cluster, settings, tmp_path):
    cluster.submit(cluster.digits(iterations=200))
    cluster.server.kill()
    away = keep(slurm, settings, tmp_path, "--once", 1)
    assert away.returncode == 6 and away.stderr, "as `mantissa` says it"
    log = tmp_path / "keeper.log"
    with open(log, "w") as out:
        keeper = subprocess.Popen([KEEP, "--interval", "1", "1", "--", "--time=5", "--hold"], stdout=out, stderr=out,
                                  env={**slurm.environment, **settings})
    try:
        until(lambda: "this look failed" in log.read_text(), "it says that it can't ask")
        cluster.start_server()
        number, = until(lambda: slurm.queue("PENDING"), "a pilot is submitted")
        assert str(number) in log.read_text().split()
    finally:
        keeper.terminate()
        keeper.wait(timeout=60)


@pytest.mark.parametrize("arguments,said", [
    ([], "MOST: '' must be"), (["0"], "MOST: '0' must be"), (["two"], "MOST: 'two' must be"),
    (["--interval", "0", "1"], "--interval: '0' must be"), (["--pilots", "1"], "unknown option '--pilots'"),
    (["1", "--time=5"], "unknown option '--time=5'"), (["1", "2"], "options of sbatch stand behind --")])
def test_a_keeper_says_what_it_was_told_wrongly(arguments, said):
    done = subprocess.run([KEEP, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and not done.stdout
