"""What must hold after any number of crashes, of what is stored and of what clients were told. Whoever is told
something keeps it in a History; violations() compares all of them with the database. It answers with sentences, none if
all is well; test_invariants.py breaks each rule once."""
import csv
import json
import sqlite3
import subprocess

# SUCCEEDED, FAILED, CANCELLED.
ENDS = (7, 8, 9)


class History:
    """What one client was told. Not thread-safe: each client has its own."""

    def __init__(self):
        self.answers = []  # (request id, its jobs' ids), each time that it was answered
        self.changed = []  # (request id, what was answered) of requests that were asked again with another body
        self.ends = []  # (job id, state, microseconds), each time that a job was shown as ended

    def answered(self, request_id, job_ids):
        self.answers.append((request_id, tuple(job_ids)))

    def saw(self, job):
        if job.state in ENDS:
            self.ends.append((job.id, job.state, job.end_time.ToMicroseconds()))

    def changed_answered(self, request_id, code):
        self.changed.append((request_id, code))


class SqliteRows:
    def __init__(self, path):
        self.database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def __call__(self, sql):
        return self.database.execute(sql)

    def damage(self):
        """Of the file itself, and of references."""
        found = self.database.execute("PRAGMA integrity_check").fetchall()
        return [] if found == [("ok",)] else [f"integrity_check: {found}"]


class PostgresRows:
    def __init__(self, psql, url):
        self.command = [psql, "--no-psqlrc", "--quiet", "--csv", "--tuples-only", "--set", "ON_ERROR_STOP=1", url]

    def __call__(self, sql):
        out = subprocess.run([*self.command, "--command", sql], check=True, capture_output=True, text=True).stdout
        number = lambda text: int(text) if text.isdigit() and len(text) < 20 else text
        return [tuple(map(number, row)) for row in csv.reader(out.splitlines())]

    def damage(self):
        return []


def violations(rows, histories, others=()):
    """`others`: ids of jobs that were submitted without a request id."""
    answers = [answer for history in histories for answer in history.answers]
    found = rows.damage()
    stored = {str(job): (state, end) for job, state, end in rows("SELECT id, state, end_micros FROM jobs")}
    requests = {str(request): str(jobs).split(",")
                for request, jobs in rows("SELECT request_id, job_ids FROM idempotency")}
    found += lost(stored, answers)
    found += made_twice(stored, requests, answers)
    found += unasked(stored, requests, others)
    found += changed_and_taken(histories)
    found += ends_that_changed(stored, histories)
    found += attempts_out_of_order(rows, stored)
    found += telemetry_with_holes(rows)
    return found


def lost(stored, answers):
    return [f"job {job} of request {request} was acknowledged and is lost" for request, jobs in answers for job in jobs
            if stored.get(job, (0,))[0] == 0]


def made_twice(stored, requests, answers):
    """A request makes its jobs once, however often it is asked and answered, and no job is of two requests."""
    for request, jobs in answers:
        kept = requests.get(request, ["nothing"])
        if kept != list(jobs):
            yield f"request {request} was answered with {jobs[:3]}..., and {kept[:3]}... is stored"
    owner = {}
    for request, jobs in requests.items():
        for job in jobs:
            if job not in stored:
                yield f"job {job} of request {request} is not stored"
            if job in owner:
                yield f"job {job} is of request {owner[job]} and of {request}"
            owner[job] = request


def unasked(stored, requests, others):
    known = {job for jobs in requests.values() for job in jobs} | set(others)
    return [f"job {job} is stored, and nobody asked for it" for job in stored if job not in known]


def changed_and_taken(histories):
    return [f"request {request} was asked with another body and answered {code}" for history in histories
            for request, code in history.changed if code != "INVALID_ARGUMENT"]


def ends_that_changed(stored, histories):
    for history in histories:
        for job, state, micros in history.ends:
            if stored.get(job) != (state, micros):
                yield f"job {job} was shown ended as {state} at {micros}, and is stored as {stored.get(job)}"


def attempts_out_of_order(rows, stored):
    numbers = rows("SELECT job_id, MIN(attempt), MAX(attempt), COUNT(*) FROM attempts GROUP BY job_id")
    for job, first, last, count in numbers:
        if first != 1 or last != count:
            yield f"job {job} has {count} attempts, from {first} to {last}"
    for job, count in rows("SELECT job_id, COUNT(*) FROM attempts WHERE state IN (1, 2) GROUP BY job_id"):
        if count > 1 or stored.get(job, (0,))[0] in ENDS:
            yield f"job {job}, in state {stored.get(job)}, has {count} live attempts"


def telemetry_with_holes(rows):
    """Records that were put together leave the events among them in rows of their own."""
    of, last, records_to = None, 0, 0
    ranges = rows("SELECT job_id, first_sequence, last_sequence, severity FROM telemetry "
                  "ORDER BY job_id, first_sequence")
    for job, first, to, severity in ranges:
        if job != of:
            of, last, records_to = job, 0, 0
        if severity > 0 and first == to <= records_to:
            continue
        if first != last + 1 or to < first or (severity > 0 and to > first):
            yield f"job {job} has telemetry {first} to {to} where {last + 1} follows"
        last = to
        if severity == 0:
            records_to = to


def acknowledged(histories):
    """How many jobs clients were told of."""
    return len({job for history in histories for _, jobs in history.answers for job in jobs})


def keep(histories, path):
    """For whoever looks into a failure."""
    path.write_text(json.dumps([vars(history) for history in histories]))
