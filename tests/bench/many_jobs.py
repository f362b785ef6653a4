"""Makes a database of very many jobs out of one that the server wrote: each job there is a pattern, whose rows are
multiplied under new ids and older times. The server must take the result for its own."""
import sqlite3

from trainer_client import job_pb2

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
ENDS = (7, 8, 9)  # SUCCEEDED, FAILED, CANCELLED
INTERVAL_MICROS = 1_000_000  # between two submits
ROWS_AT_ONCE = 2_000

# Of what belongs to a job; `id` or `job_id` is replaced, and the job's id wherever a blob has it.
TABLES = ("job_labels", "attempts", "checkpoints", "artifacts", "telemetry")


def ulid(millis, number):
    value = (millis << 80) | number
    return "".join(CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def multiply(path, finished, live):
    """Adds copies until so many jobs have ended and so many have not, the latter newest."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -200000")
    ids = database.execute("SELECT id FROM jobs ORDER BY id").fetchall()
    patterns = [Pattern(database, job_id) for (job_id,) in ids]
    ended = [pattern for pattern in patterns if pattern.job.state in ENDS]
    living = [pattern for pattern in patterns if pattern.job.state not in ENDS]
    wanted = [ended[number % len(ended)] for number in range(finished - len(ended))]
    wanted += [living[number % len(living)] for number in range(live - len(living))]
    oldest = min(pattern.created for pattern in patterns) - (len(wanted) + 1) * INTERVAL_MICROS
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        rows = {}
        for number in range(start, min(start + ROWS_AT_ONCE, len(wanted))):
            wanted[number].copy(number, oldest + number * INTERVAL_MICROS, rows)
        database.execute("BEGIN")
        for (table, width), values in rows.items():
            database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", values)
        database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")
    counts = database.execute("SELECT COUNT(*) FILTER (WHERE state IN (7, 8, 9)), COUNT(*) FILTER (WHERE state < 7) "
                              "FROM jobs").fetchone()
    assert counts == (finished, live), counts
    database.close()


class Pattern:
    """The rows of one job as the server wrote them."""

    def __init__(self, database, job_id):
        self.id, self.tables = job_id, {}
        self.columns, self.row = read(database, "jobs", "id", job_id)[0:2]
        self.row = self.row[0]
        self.job = job_pb2.Job.FromString(self.value("head"))
        self.created = self.value("create_micros")
        for table in TABLES:
            columns, rows = read(database, table, "job_id", job_id)
            self.tables[table] = (columns.index("job_id"), rows)
        self.request = database.execute("SELECT * FROM idempotency WHERE job_ids = ?", (job_id,)).fetchone()

    def value(self, column):
        return self.row[self.columns.index(column)]

    def copy(self, number, created, rows):
        """Adds the rows of a job that was submitted then."""
        new_id = ulid(created // 1000, number)
        earlier = self.created - created
        job = job_pb2.Job()
        job.CopyFrom(self.job)
        job.id = new_id
        for field in ("create_time", "state_time", "start_time", "end_time"):
            if job.HasField(field):
                time = getattr(job, field)
                time.FromMicroseconds(time.ToMicroseconds() - earlier)
        row = list(self.row)
        for column, value in (("id", new_id), ("head", job.SerializeToString()), ("create_micros", created),
                              ("end_micros", self.value("end_micros") and self.value("end_micros") - earlier)):
            row[self.columns.index(column)] = value
        add(rows, "jobs", row)
        before, after = self.id.encode(), new_id.encode()
        for table, (at, found) in self.tables.items():
            for old in found:
                new = [value.replace(before, after) if isinstance(value, bytes) else value for value in old]
                new[at] = new_id
                add(rows, table, new)
        if self.request:
            tenant, _, request, _, _ = self.request
            add(rows, "idempotency", (tenant, f"copy-{number}", request, new_id, created))


def read(database, table, key, value):
    cursor = database.execute(f"SELECT * FROM {table} WHERE {key} = ?", (value,))
    return [column[0] for column in cursor.description], cursor.fetchall()


def add(rows, table, row):
    rows.setdefault((table, len(row)), []).append(row)
