"""The other steps at which a server can die: whatever it was about, the next start finds it done or not begun."""
import hashlib
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess

import pytest

from clients import Client
from conftest import BIN, ROOT, iterations, until, watch
from invariants import SqliteRows, violations
from load import Submitter, Trainee

PROGRAM = "mantissa-server-faults"
POINT = re.compile(r'MANTISSA_FAILPOINT(?:_STATUS)?\("([^"]+)"\)')


def points_of_the_sources():
    return {name for file in (ROOT / "server").rglob("*.cc") for name in POINT.findall(file.read_text())}


def steps(prefix):
    found = sorted(name for name in points_of_the_sources() if name.startswith(prefix))
    assert found, prefix
    return found


def told(program, failpoints):
    return subprocess.run([BIN / program, "--version"], env={"MANTISSA_FAILPOINTS": failpoints}, capture_output=True,
                          text=True)


def any_fault(clients):
    return any(client.fault for client in clients)


def died(program):
    """It died where it was told to, and of nothing else."""
    until(lambda: not program.running, "it dies", 60)
    assert program.process.returncode == -signal.SIGKILL, program.log_text()[-4000:]


def whole(database):
    assert sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_every_point_of_the_sources_is_in_the_program():
    answer = told(PROGRAM, "help")
    assert answer.returncode == 2
    assert set(answer.stderr.split("this program has ")[1].strip().split(", ")) == points_of_the_sources()


def test_a_name_that_is_none_ends_the_start():
    answer = told(PROGRAM, "store.before_comit=crash:3")
    assert answer.returncode == 2 and "no failpoint 'store.before_comit'" in answer.stderr, answer
    assert told(PROGRAM, "store.before_commit=crash:3").returncode == 0


def test_the_program_of_users_has_none():
    build = pathlib.Path(os.environ.get("MANTISSA_BUILD_DIR", ROOT / "build/release"))
    if "MANTISSA_FAILPOINTS:BOOL=ON" in (build / "CMakeCache.txt").read_text():
        pytest.skip("this build has failpoints everywhere")
    program = (BIN / "mantissa-server").read_bytes()
    assert [name for name in points_of_the_sources() if name.encode() in program] == []
    assert b"store.after_begin" in (BIN / PROGRAM).read_bytes()


def test_a_server_that_dies_while_it_migrates_starts_again(cluster):
    assert cluster.server.terminate() == 0
    folder, deaths = cluster.folder / "server", 0
    for older in (None, ROOT / "tests/golden/schema_0001.db"):
        kept = rows_of(older, "jobs") if older else 0
        for step in steps("migration."):
            for hit in range(1, 100):
                shutil.rmtree(folder)
                folder.mkdir()
                if older:
                    shutil.copy(older, folder / "mantissa.db")
                cluster.launch_server(PROGRAM, MANTISSA_FAILPOINTS=f"{step}=crash:{hit}")
                until(lambda: not cluster.server.running or (cluster.folder / "address").exists(), "it dies or serves")
                if cluster.server.running:  # all of them are behind it
                    cluster.server.kill()
                    break
                died(cluster.server)
                deaths += 1
                cluster.start_server()
                assert cluster.submit(cluster.digits()).id
                assert len(list_jobs(cluster)) == kept + 1
                cluster.server.kill()
                whole(folder / "mantissa.db")
    assert deaths > 2 * len(steps("migration."))


def test_a_backup_is_whole_or_absent(cluster, tmp_path):
    for _ in range(3):
        cluster.submit(cluster.digits())
    target = tmp_path / "copy.db"
    command = [BIN / PROGRAM, "--data-dir", cluster.folder / "server", "backup", target]
    there = []
    for step in steps("backup."):
        target.unlink(missing_ok=True)
        assert subprocess.run(command, env={"MANTISSA_FAILPOINTS": f"{step}=crash:1"}).returncode == -signal.SIGKILL
        there.append(target.exists())
        if not target.exists():  # what the dead one left is no obstacle
            assert subprocess.run(command, env={}).returncode == 0
        whole(target)
        copy = sqlite3.connect(target)
        assert copy.execute("SELECT COUNT(*) FROM jobs").fetchone() == (3,)
        assert copy.execute("SELECT epoch > 1000 FROM server").fetchone() == (1,), "and is fenced"
    assert True in there and False in there
    assert cluster.submit(cluster.digits()).id, "and the server has not noticed"


def test_a_commit_that_fails_is_as_if_it_had_not_been(cluster):
    """One that certainly has not happened, and one of which nobody can tell; both are answered with another try."""
    cluster.server.kill()
    fail = [f"store.{step}=error:{hit}" for step in ("before_begin", "before_commit") for hit in range(4, 40, 7)]
    cluster.start_server(PROGRAM, MANTISSA_FAILPOINTS=",".join(fail))
    cluster.start_worker()
    submitters = [Submitter(cluster, f"s{number}", 1, batch=10) for number in range(4)]
    trainee = Trainee(cluster, "t", 1, iterations=300)
    clients = [*submitters, trainee]
    for client in clients:
        client.start()
    try:
        until(lambda: all(client.serial > 20 for client in submitters) and trainee.ended or any_fault(clients), "work")
    finally:
        Client.finish(clients)
    assert cluster.server.terminate() == 0
    assert cluster.server.log_text().count("a transaction failed") >= 6, "or nothing was injected"
    assert sum(submitter.repeated for submitter in submitters) > 0
    found = violations(SqliteRows(cluster.folder / "server/mantissa.db"), [client.history for client in clients])
    assert not found, found[:20]


FILES = [f"{step}=crash:1" for step in steps("artifact.") + steps("log.")]


@pytest.mark.parametrize("fault", [*FILES, "artifact.before_sync=error:1", "log.before_sync=error:1"])
def test_files_of_a_job_are_whole_whatever_happens_as_they_are_stored(cluster, fault):
    cluster.server.kill()
    cluster.start_server(PROGRAM, MANTISSA_FAILPOINTS=fault)
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=300))
    if "crash" in fault:
        died(cluster.server)
        cluster.start_server()
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED")
    assert done.state == cluster.pb("job").Job.SUCCEEDED and done.attempt == 1, done
    pb = cluster.pb("job_service")

    def artifacts():
        return cluster.jobs().ListArtifacts(pb.ListArtifactsRequest(job_id=job.id)).artifacts

    until(lambda: {"model.safetensors", "MANIFEST.json"} <= {artifact.name for artifact in artifacts()}, "its files")
    for artifact in artifacts():
        data = b"".join(part.data for part in cluster.jobs().DownloadArtifact(
            pb.DownloadArtifactRequest(job_id=job.id, name=artifact.name)))
        assert len(data) == artifact.size_bytes and hashlib.sha256(data).hexdigest() == artifact.sha256

    def lines():
        parts = cluster.jobs().ReadLogs(pb.ReadLogsRequest(job_id=job.id, attempt=1, stream="STDERR"))
        return b"".join(part.data for part in parts).splitlines()

    if fault.startswith("log."):
        until(lines, "what was printed")
    assert len(set(lines())) == len(lines()), "it is there once"
    until(lambda: not list((cluster.folder / "server/jobs/incoming").iterdir()), "what was not finished is gone")


@pytest.mark.parametrize("step", steps("sweep."))
def test_a_deleted_job_goes_though_the_server_dies_as_it_takes_it_away(cluster, step):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=300))
    cluster.wait_state(job.id, "SUCCEEDED")
    folder = cluster.folder / "server/jobs" / job.id
    until(folder.exists, "its files are there")
    cluster.server.kill()
    cluster.start_server(PROGRAM, MANTISSA_FAILPOINTS=f"{step}=crash:1")
    cluster.jobs().DeleteJob(cluster.pb("job_service").DeleteJobRequest(job_id=job.id), wait_for_ready=True)
    died(cluster.server)
    assert sqlite3.connect(cluster.folder / "server/mantissa.db").execute("SELECT state FROM jobs").fetchone() == (0,)
    cluster.start_server()
    database = cluster.folder / "server/mantissa.db"
    until(lambda: rows_of(database, "jobs", "attempts", "telemetry", "artifacts", "checkpoints") == 0
          and not folder.exists(), "rows and files are gone")
    whole(database)


@pytest.mark.parametrize("step", steps("compact."))
def test_records_are_there_once_though_the_server_dies_as_it_puts_them_together(cluster, step):
    cluster.server.kill()
    cluster.start_server(PROGRAM, MANTISSA_FAILPOINTS=f"{step}=crash:1")
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=6000))
    died(cluster.server)
    cluster.start_server()
    cluster.wait_state(job.id, "SUCCEEDED")
    database = cluster.folder / "server/mantissa.db"

    def chunks():  # a serialised message does not begin with a zero
        return sqlite3.connect(database).execute(
            "SELECT COUNT(*) FROM telemetry WHERE substr(segments, 1, 1) = x'00'").fetchone()[0]

    until(lambda: chunks() > 0, "some are together")
    _, segments = watch(cluster, job.id)
    assert iterations(cluster, segments) == [(1, number) for number in range(1, 6001)]
    whole(database)


def rows_of(database, *tables):
    opened = sqlite3.connect(database)
    return sum(opened.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables)


def list_jobs(cluster):
    return cluster.jobs().ListJobs(cluster.pb("job_service").ListJobsRequest(), wait_for_ready=True).jobs
