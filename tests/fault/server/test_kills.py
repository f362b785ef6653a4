"""A submit that was answered is on disk, a request that is repeated makes one job, and an end stays one, whenever the
server dies: at random moments, and at each step of a commit.

MANTISSA_KILLS: how many kills (200; a night is 2000). MANTISSA_SEED: of what comes when; printed."""
import collections
import os
import random
import signal
import subprocess

from clients import Client
from conftest import until
from figures import emit
from invariants import SqliteRows, acknowledged, keep, violations
from load import Submitter, Trainee

KILLS = int(os.environ.get("MANTISSA_KILLS", "200"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
SUBMITTERS, BATCH = 8, 100
# Which step of a life, and up to how many of them it lives: about a second under this load.
STEPS = {
    "commit.decided": 20, "commit.stored": 20, "commit.told": 20, "commit.replied": 60,
    "store.before_begin": 15, "store.after_begin": 15, "store.after_job": 4_000, "store.after_attempt": 3,
    "store.after_telemetry": 15, "store.after_idempotency": 15, "store.before_commit": 15, "store.after_commit": 15,
    "store.after_epoch": 1,
}
LONGEST = 4  # seconds that a life waits for its step; then it is killed where it is


def live_and_die(cluster, choices):
    """Starts the server, which dies; says of what."""
    step = choices.choice([None, None, None, *STEPS])
    if step is None:
        cluster.launch_server()  # the program of users
        seconds, step = choices.uniform(0.2, 1.6), "at random"
    else:
        at = choices.randint(1, STEPS[step])
        cluster.launch_server("mantissa-server-faults", MANTISSA_FAILPOINTS=f"{step}=crash:{at}")
        seconds = LONGEST
    process = cluster.server.process
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        step = step if step == "at random" else "not reached"
        cluster.server.kill()
    assert process.returncode == -signal.SIGKILL, f"it died of something else:\n{cluster.server.log_text()[-4000:]}"
    return step


def test_nothing_acknowledged_is_lost_made_twice_or_undone(cluster, tmp_path):
    command = f"MANTISSA_SEED={SEED} MANTISSA_KILLS={KILLS}"
    print(command)
    choices, deaths = random.Random(SEED), collections.Counter()
    cluster.start_worker()
    submitters = [Submitter(cluster, f"s{number}", SEED, BATCH) for number in range(SUBMITTERS)]
    trainee = Trainee(cluster, "t", SEED, iterations=300)
    clients = [*submitters, trainee]
    for client in clients:
        client.start()
    try:
        cluster.server.kill()
        for _ in range(KILLS):
            deaths[live_and_die(cluster, choices)] += 1
        cluster.start_server()
        until(lambda: trainee.ended or trainee.fault, "a job is trained to its end")
    finally:
        Client.finish(clients)
    assert cluster.server.terminate() == 0

    histories = [client.history for client in clients]
    found = violations(SqliteRows(cluster.folder / "server/mantissa.db"), histories)
    keep(histories, tmp_path / "history.json")
    command += " ctest --preset release -R fault.kills"
    print(dict(deaths))
    for figure, value, unit in [
        ("kills_at_a_step", KILLS - deaths["at random"] - deaths["not reached"], "kills"),
        ("submits_acknowledged", acknowledged(histories), "jobs"),
        ("requests_repeated_after_a_kill", sum(submitter.repeated for submitter in submitters), "requests"),
        ("changed_bodies_rejected", sum(len(history.changed) for history in histories), "requests"),
        ("ends_looked_at_again", sum(len(history.ends) for history in histories), "jobs"),
        ("attempts_run_to_the_end", trainee.ended, "attempts"),
        ("violations", len(found), "violations"),
    ]:
        emit("P1, P2", figure, value, unit, KILLS, SEED, command)
        assert value > 0 or figure == "violations", f"{figure}: nothing was tried"
    assert not found, found[:20]
    assert deaths["not reached"] <= KILLS // 10 + 3, "the steps are chosen too far away"
