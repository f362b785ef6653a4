"""Two servers on one PostgreSQL, and the active one struck again and again: killed, stopped and woken, cut off from
PostgreSQL, or dead at a step of a commit or of taking over. The other serves, nothing that was acknowledged is lost,
every epoch has one writer, and no attempt is given out twice.

MANTISSA_ROUNDS: how many blows (10; 50 by hand). MANTISSA_SEED: of which, and when; printed."""
import collections
import os
import random
import signal
import statistics
import time

import pytest

from clients import Client
from conftest import until
from figures import emit
from invariants import PostgresRows, acknowledged, keep, violations
from link import Link
from load import Submitter, Trainee
from standby_pair import POSTGRES, Pair

ROUNDS = int(os.environ.get("MANTISSA_ROUNDS", "10"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))
# Steps of an active server, and of becoming one, and up to how many of them it lives.
STEPS = {"store.after_prepare": 60, "store.before_commit": 60, "store.sent": 60, "store.after_commit": 60,
         "commit.told": 60, "lock.acquired": 1, "store.after_epoch": 1}
BLOWS = ["kill", "stop", "drop", "blackhole", "step"]

# Who wrote under which epoch, and which attempts were given out: seen by PostgreSQL, whatever the servers believe. What
# a transaction that is rolled back has noted goes with it.
AUDIT = """
CREATE SCHEMA audit;
CREATE TABLE audit.writes (number BIGSERIAL, epoch BIGINT, writer TEXT);
CREATE TABLE audit.assigned (job_id TEXT, attempt BIGINT);
CREATE FUNCTION audit.write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO audit.writes (epoch, writer) SELECT epoch, current_setting('application_name') FROM public.server;
  RETURN NULL;
END $$;
CREATE FUNCTION audit.assign() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO audit.assigned VALUES (NEW.job_id, NEW.attempt);
  RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON public.jobs FOR EACH STATEMENT EXECUTE FUNCTION audit.write();
CREATE TRIGGER audit AFTER INSERT ON public.attempts FOR EACH ROW EXECUTE FUNCTION audit.assign();
"""


class StruckPair(Pair):
    """Each server reaches PostgreSQL over a link of its own, and each life of one has a name and a fate."""

    PROGRAM = "mantissa-server-faults"

    def __init__(self, folder):
        super().__init__(folder)
        self.choices = random.Random(SEED)
        self.links, self.lives, self.deck = {}, 0, []
        self.fates, self.blows = {}, collections.Counter()  # of each life: what happens to it; and how often each did

    def connection(self, number):
        if number not in self.links:
            self.links[number] = Link(self.postgres.folder / ".s.PGSQL.5432")
        self.lives += 1
        return (f"host=127.0.0.1 port={self.links[number].port} user=mantissa dbname=postgres sslmode=disable "
                f"gssencmode=disable application_name=life-{self.lives}")

    def next_blow(self):
        """One of all of them before any comes again."""
        self.deck = self.deck or self.choices.sample(BLOWS, len(BLOWS))
        return self.deck.pop()

    def start_one(self, number, blow="kill"):
        variables = {}
        if blow == "step":
            step = self.choices.choice(list(STEPS))
            blow, at = f"step {step}", self.choices.randint(1, STEPS[step])
            variables["MANTISSA_FAILPOINTS"] = f"{step}=crash:{at}"
        self.fates[number] = blow
        super().start_one(number, **variables)

    def strike(self, number):
        """What its fate is; one that dies at a step does so by itself."""
        blow, server = self.fates[number], self.servers[number]
        self.blows[blow] += 1
        if blow == "kill":
            server.kill()
        elif blow == "stop":
            os.kill(server.process.pid, signal.SIGSTOP)
        elif blow == "drop":
            self.links[number].cut()
        elif blow == "blackhole":
            self.links[number].silence()
        else:
            until(lambda: not server.running, f"it comes to {blow}", 30)
            assert server.process.returncode == -signal.SIGKILL, server.log_text()[-2000:]

    def take_over(self, number):
        """Waits until it serves, and says how long that was. One that dies on the way is started again, to live."""
        began = time.monotonic()
        while not self.answers(number):
            assert time.monotonic() < began + 10, f"{number} does not serve, after {self.fates}"
            if not self.servers[number].running and self.fates[number].startswith("step "):
                self.strike(number)
                self.start_one(number)
                began = time.monotonic()
        return time.monotonic() - began

    def recover(self, number):
        """The world is as it was. One that was struck and lives must see for itself that it is not the active one."""
        server, blow = self.servers[number], self.fates[number]
        if blow == "stop":
            os.kill(server.process.pid, signal.SIGCONT)
        if blow == "blackhole":
            self.links[number].heal()
        # PostgreSQL and the server see a closed connection at the same time, and each takes a moment to act on it.
        silent = time.monotonic() + (0.5 if blow == "drop" else 0)

        def ended():
            if server.running and time.monotonic() > silent:
                assert not self.answers(number), f"after {blow} it answers, and another is active"
            return not server.running

        until(ended, f"after {blow} it ends by itself", 15)
        self.links[number].heal()

    def close(self):
        super().close()
        for link in self.links.values():
            link.close()


@pytest.fixture
def pair(tmp_path):
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql-15")
    it = StruckPair(tmp_path)
    try:
        it.start_pair()
        yield it
    finally:
        it.close()
        for server in it.servers:
            print(f"---- {server.name}\n{server.log_text()[-6000:]}")


def test_blow_after_blow_one_is_active_and_nothing_is_lost(pair, tmp_path):
    command = f"MANTISSA_SEED={SEED} MANTISSA_ROUNDS={ROUNDS}"
    print(command)
    rows, took = PostgresRows(pair.postgres.psql, pair.postgres.url), []
    until(lambda: pair.active() is not None, "one of them is active", 30)
    active = pair.active()
    rows(AUDIT)
    for name in ("ws-1", "ws-2"):
        pair.start_worker(name)
    submitters = [Submitter(pair, f"s{number}", SEED, batch=5) for number in range(4)]
    trainees = [Trainee(pair, f"t{number}", SEED, iterations=300) for number in range(2)]
    clients = [*submitters, *trainees]
    for client in clients:
        client.start()

    def done():
        return (sum(len(submitter.history.answers) for submitter in submitters),
                sum(trainee.ended for trainee in trainees))

    def work():
        """The active one takes submits and has jobs trained; or it has come to its fate."""
        before = done()
        until(lambda: all(now > then for now, then in zip(done(), before)) or not pair.servers[active].running
              or any(client.fault for client in clients), f"work goes on, after {pair.fates}")

    try:
        for _ in range(ROUNDS):
            work()
            time.sleep(pair.choices.uniform(0, 0.5))  # the blow comes when it comes
            pair.strike(active)
            took.append(pair.take_over(1 - active))
            pair.recover(active)
            pair.start_one(active, blow=pair.next_blow())
            active = 1 - active
        work()
    finally:
        Client.finish(clients)

    histories = [client.history for client in clients]
    keep(histories, tmp_path / "history.json")
    found = violations(rows, histories)
    two_writers = rows("SELECT epoch FROM audit.writes GROUP BY epoch HAVING COUNT(DISTINCT writer) > 1")
    late = rows("SELECT number FROM (SELECT number, epoch, MAX(epoch) OVER (ORDER BY number) AS newest "
                "FROM audit.writes) AS ordered WHERE epoch < newest")
    twice = rows("SELECT job_id, attempt FROM audit.assigned GROUP BY job_id, attempt HAVING COUNT(*) > 1")
    epochs = rows("SELECT COUNT(DISTINCT epoch) FROM audit.writes")[0][0]
    assigned = rows("SELECT COUNT(*) FROM audit.assigned")[0][0]
    command += " ctest --preset release -R fault.standby_rounds"
    print(dict(pair.blows))
    for figure, value, unit in [
        ("epochs_with_writes", epochs, "epochs"),
        ("submits_acknowledged", acknowledged(histories), "jobs"),
        ("attempts_assigned", assigned, "attempts"),
        ("standby_serves_max", round(max(took), 2), "s"),
        ("standby_serves_median", round(statistics.median(took), 2), "s"),
    ]:
        emit("P15", figure, value, unit, ROUNDS, SEED, command)
        assert value > 0, f"{figure}: nothing was tried"
    for figure, value in [("violations", found), ("epochs_with_two_writers", two_writers),
                          ("writes_under_an_older_epoch", late), ("attempts_assigned_twice", twice)]:
        emit("P15", figure, len(value), "violations", ROUNDS, SEED, command)
        assert not value, (figure, value[:20])
    assert epochs > ROUNDS // 2, "most of them came to write"
