"""A worker that was taken for dead and wakes changes nothing: not what is stored, and not what is on disk.

MANTISSA_ROUNDS: attempts whose every RPC is repeated under tokens that hold no lease (20; 100 by hand). MANTISSA_WAKES:
real workers that are stopped past their lease and woken (2; 20 by hand). MANTISSA_SEED: of when; printed."""
import hashlib
import os
import random
import signal
import sqlite3
import time

import grpc

from blows import alive, attempts_of, checkpoints_of, manifest_is_whole, reason_of, short_job, signal_all
from conftest import iterations, sequences, until, watch
from fake_worker import FakeWorker, spec
from figures import tell

ROUNDS = int(os.environ.get("MANTISSA_ROUNDS", "20"))
WAKES = int(os.environ.get("MANTISSA_WAKES", "2"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
AT_ONCE = 20
HEARTBEAT = 0.5  # next_call of this cluster
SLACK = 1.0
LONG = 12_000


def test_a_woken_worker_lets_go_and_changes_nothing(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_WAKES={WAKES}")
    moments = random.Random(SEED)
    workers = {name: cluster.start_worker(name) for name in ("ws-1", "ws-2")}
    gone_after = []
    for _ in range(WAKES):
        job = cluster.submit(short_job(cluster, LONG, checkpoint_every=500))
        cluster.wait_iteration(job.id, moments.randrange(600, 3_000))
        sleeper = workers[cluster.get(job.id).progress.worker_id]
        trainers = cluster.trainer_pids(sleeper)
        tree = list(cluster.processes(sleeper))
        signal_all(tree, signal.SIGSTOP)
        until(lambda: cluster.get(job.id).attempt == 2, "another worker has it", 10)
        cluster.wait_iteration(job.id, moments.randrange(3_500, 9_000))
        signal_all(tree, signal.SIGCONT)
        woke = time.monotonic()
        until(lambda: not alive(trainers), "the trainer of attempt 1 is gone", 10)
        gone_after.append(round(time.monotonic() - woke, 2))
        done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
        assert done.state == cluster.pb("job").Job.SUCCEEDED and done.attempt == 2, done.state_message
        first, second = attempts_of(cluster, job.id)
        assert first.state == cluster.pb("job").Attempt.LOST and second.resumed_from
        check_history(cluster, job.id, second.resumed_from)
        kept = checkpoints_of(cluster, job.id)[-2:]
        assert all(manifest_is_whole(cluster, checkpoint) for checkpoint in kept), "what is committed is there"
    tell(WAKES, SEED, zombie_gone_at_most=(max(gone_after), "s"), stale_changes=(0, "1"))
    assert max(gone_after) <= HEARTBEAT + SLACK


def check_history(cluster, job_id, resumed_from):
    """Sequences are whole; attempt 2 goes on where its checkpoint was, and each of its iterations is there once."""
    _, segments = watch(cluster, job_id)
    numbers = sequences(segments)
    assert numbers == list(range(1, len(numbers) + 1))
    history = iterations(cluster, segments)
    resumed = next(it for it in checkpoints_of(cluster, job_id) if it.name == resumed_from).iteration
    first = [number for attempt, number in history if attempt == 1]
    assert first == list(range(1, len(first) + 1)) and len(first) >= resumed
    assert history[len(first):] == [(2, number) for number in range(resumed + 1, LONG + 1)]


def stored(cluster):
    """Every row of the database, and every file of jobs that the server keeps. Of telemetry, whose old rows the server
    puts together when it finds the time, how far it goes and how many events there are."""
    database = sqlite3.connect(f"file:{cluster.folder}/server/mantissa.db?mode=ro", uri=True)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    rows = {table: sorted(map(repr, database.execute(f"SELECT * FROM {table}"))) for table in tables
            if table not in ("telemetry", "telemetry_uncompacted")}
    rows["telemetry"] = database.execute(
        "SELECT job_id, MAX(last_sequence), SUM(severity > 0) FROM telemetry GROUP BY job_id ORDER BY job_id").fetchall()
    database.close()
    assert rows["jobs"] and rows["attempts"]
    files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in (cluster.folder / "server/jobs").rglob("*") if path.is_file()}
    return rows, files


def stale(cluster, old, new):
    """What a zombie might speak as: with its own token, with it under the newer number, and with tokens made up."""
    ref = cluster.pb("job").AttemptRef
    flipped = bytes([new.token[0] ^ 1]) + new.token[1:]
    return [old,
            ref(job_id=old.job_id, attempt=new.attempt, token=old.token),
            ref(job_id=old.job_id, attempt=new.attempt, token=flipped),
            ref(job_id=old.job_id, attempt=new.attempt),
            ref(job_id=old.job_id, attempt=new.attempt + 1, token=new.token),
            ref(job_id=old.job_id, attempt=new.attempt, token=new.token, rank=1)]


def refused(call):
    """Whether a unary call or upload is refused for want of a lease."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code() == grpc.StatusCode.ABORTED and reason_of(error) == "LEASE_LOST"
    return False


def repeat_everything(zombie, refs):
    """Every RPC of a worker for each of the references; which of them were not refused, and how many were made."""
    attempt = zombie.job_pb.Attempt
    accepted, made = [], 0
    for ref in refs:
        outcomes = {"PublishTelemetry": zombie.telemetry(ref, 6, 5) == [True, True],
                    "PublishTelemetry again": zombie.telemetry(ref, 1, 5) == [True, True],
                    "PublishLogs": zombie.logs(ref, 6, b"more") == [True, True],
                    "CommitCheckpoint": refused(lambda: zombie.commit(ref, 20)),
                    "CommitCheckpoint again": refused(lambda: zombie.commit(ref, 10)),
                    "UploadArtifact": refused(lambda: zombie.upload(ref))}
        for state in (attempt.RUNNING, attempt.SUCCEEDED, attempt.FAILED, attempt.CANCELLED):
            report = zombie.pb.AttemptReport(ref=ref, state=state, iteration=99, last_attempt_sequence=9)
            report.artifacts.append(zombie.artifact(ref)[0])
            answer = zombie.synchronize([report])
            outcomes[f"Synchronize, {state}"] = not any(it.ref.job_id == ref.job_id for it in answer.attempts)
        accepted += [(rpc, ref.attempt) for rpc, no in outcomes.items() if not no]
        made += len(outcomes)
    return accepted, made


def lose_leases(cluster, batch, count):
    """Attempts 1 of `count` jobs on a worker that falls silent, attempts 2 on another that does not."""
    until(lambda: not any(worker.connected for worker in cluster.admin().ListWorkers(
        cluster.pb("admin_service").ListWorkersRequest()).workers), "those of the last batch are gone", 10)
    zombie, heir = (FakeWorker(cluster, f"{name}-{batch}", count) for name in ("zombie", "heir"))
    jobs = [cluster.submit(spec(cluster)).id for _ in range(count)]
    until(lambda: zombie.synchronize() and len(zombie.held) == count, "the first worker has all of them", 10)
    old = {job: report.ref for job, report in zombie.held.items()}
    zombie.synchronize()
    for ref in old.values():  # what is refused later is taken now
        assert zombie.telemetry(ref, 1, 5) == [False, False] and zombie.logs(ref, 0, b"hello\n") == [False, False]
        zombie.commit(ref, 10)
        zombie.synchronize()
    heir.beat()
    until(lambda: len(heir.held) == count, "the second worker has all of them", 15)
    assert sorted(heir.held) == sorted(jobs)
    return zombie, heir, old


def test_every_rpc_under_a_token_without_a_lease_is_refused_and_stores_nothing(cluster):
    print(f"MANTISSA_ROUNDS={ROUNDS}")
    made = 0
    for batch, first in enumerate(range(0, ROUNDS, AT_ONCE)):
        count = min(AT_ONCE, ROUNDS - first)
        zombie, heir, old = lose_leases(cluster, batch, count)
        try:
            new = {job: report.ref for job, report in heir.held.items()}
            running = cluster.pb("job").Job.RUNNING
            until(lambda: all(cluster.get(job).state == running and cluster.get(job).attempt == 2 for job in old),
                  "attempts 2 run", 10)
            made += repeat_in_vain(cluster, zombie, old, new)
            assert sorted(heir.held) == sorted(old), "and who has the lease keeps it"
        finally:
            heir.silence()
        made += after_the_end(cluster, zombie, heir, old, new)
    tell(ROUNDS, None, stale_calls=(made, "1"), accepted=(0, "1"))


def repeat_in_vain(cluster, zombie, old, new):
    """Everything under every token without a lease: how many calls that were, none of which changed what is stored."""
    made, before = 0, stored(cluster)
    for job in old:
        accepted, calls = repeat_everything(zombie, stale(cluster, old[job], new[job]))
        assert not accepted, job
        made += calls
    assert stored(cluster) == before
    return made


def after_the_end(cluster, zombie, heir, old, new):
    """The same once the attempts have ended and their files are asked for."""
    for report in heir.held.values():
        report.state = heir.job_pb.Attempt.SUCCEEDED
        report.artifacts.append(heir.artifact(report.ref)[0])
    asked = heir.synchronize().artifacts or heir.synchronize().artifacts
    assert len(asked) == len(old)
    made = repeat_in_vain(cluster, zombie, old, new)
    for job in old:
        heir.upload(new[job])  # which the right one may do
        cluster.wait_state(job, "SUCCEEDED")
    heir.synchronize()
    return made
