"""The checker of invariants finds every violation: a sound database and its client's history, spoiled in one place
each."""
import copy
import shutil
import sqlite3

import pytest

from invariants import History, SqliteRows, violations


@pytest.fixture
def sound(cluster, tmp_path):
    """A database of a dozen jobs, one of which a worker has run, and what their client was told."""
    pb, history = cluster.pb("job_service"), History()
    for number in range(3):
        specs = [cluster.digits(iterations=20) for _ in range(4)]
        for spec in specs[1:] if number == 0 else specs:
            spec.resources.worker_selector["never"] = "placed"
        request = pb.SubmitJobsRequest(specs=specs, request_id=f"request-{number}")
        for _ in range(2):
            answer = cluster.jobs().SubmitJobs(request, wait_for_ready=True)
            history.answered(request.request_id, [outcome.job.id for outcome in answer.outcomes])
    runs, cancelled = history.answers[0][1][0], history.answers[2][1][0]
    cluster.start_worker()
    history.saw(cluster.wait_state(runs, "SUCCEEDED"))
    history.saw(cluster.jobs().CancelJob(pb.CancelJobRequest(job_id=cancelled)))
    assert len(history.ends) == 2
    assert cluster.server.terminate() == 0
    return cluster.folder / "server/mantissa.db", history, runs


def test_a_sound_history_has_no_violations(sound):
    database, history, _ = sound
    assert violations(SqliteRows(database), [history]) == []


SPOILED = {
    "a lost job": ("DELETE FROM jobs WHERE id = :unplaced", "acknowledged and is lost"),
    "a deleted job": ("UPDATE jobs SET state = 0 WHERE id = :unplaced", "acknowledged and is lost"),
    "a forgotten request": ("DELETE FROM idempotency WHERE request_id = 'request-1'", "nobody asked for it"),
    "a request that made another": ("UPDATE idempotency SET job_ids = job_ids || ',x' WHERE request_id = 'request-1'",
                                    "job x of request request-1 is not stored"),
    "two requests of one job": ("UPDATE idempotency SET job_ids = (SELECT job_ids FROM idempotency WHERE request_id = "
                                "'request-1') WHERE request_id = 'request-2'", "is of request"),
    "an end that changed": ("UPDATE jobs SET state = 8 WHERE id = :ran", "was shown ended as 7"),
    "an end at another time": ("UPDATE jobs SET end_micros = end_micros + 1 WHERE id = :ran", "was shown ended as 7"),
    "a hole among attempts": ("UPDATE attempts SET attempt = 2 WHERE job_id = :ran", "1 attempts, from 2 to 2"),
    "an attempt that outlives its job": ("UPDATE attempts SET state = 2 WHERE job_id = :ran", "live attempts"),
    "telemetry that begins late": ("DELETE FROM telemetry WHERE job_id = :ran AND first_sequence = 1", "1 follows"),
    "telemetry twice": ("UPDATE telemetry SET last_sequence = 2 WHERE job_id = :ran AND first_sequence = 1",
                        "where 3 follows"),
    "a broken page": ("PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'jobs_by_name'",
                      "integrity_check"),
}


def test_each_violation_is_found(sound, tmp_path):
    database, history, ran = sound
    unplaced = history.answers[2][1][1]
    for name, (sql, finding) in SPOILED.items():
        copied = tmp_path / "spoiled.db"
        copied.unlink(missing_ok=True)
        shutil.copy(database, copied)
        spoiler = sqlite3.connect(copied, isolation_level=None)
        for statement in sql.split("; "):
            spoiler.execute(statement, {"ran": ran, "unplaced": unplaced} if ":" in statement else {})
        spoiler.close()
        found = violations(SqliteRows(copied), [history])
        assert any(finding in line for line in found), (name, found)


def test_what_a_client_was_told_counts_too(sound):
    database, history, ran = sound
    for spoil, finding in [
        (lambda it: it.answered("request-1", history.answers[0][1]), "request-1 was answered with"),
        (lambda it: it.answered("request-9", ["01jdmeetsanobodyatallzzzzz"]), "is lost"),
        (lambda it: it.changed_answered("request-1", "OK"), "another body and answered OK"),
        (lambda it: it.ends.append((ran, 9, 1)), "was shown ended as 9"),
    ]:
        spoiled = copy.deepcopy(history)
        spoil(spoiled)
        assert any(finding in line for line in violations(SqliteRows(database), [spoiled])), finding
    fine = copy.deepcopy(history)
    fine.changed_answered("request-1", "INVALID_ARGUMENT")
    assert violations(SqliteRows(database), [fine]) == []
