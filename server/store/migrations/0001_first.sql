-- Blobs are serialised messages of mantissa.v1; the columns beside them are what statements look for.

CREATE TABLE server (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  epoch INTEGER NOT NULL
);
INSERT INTO server (only_row, epoch) VALUES (1, 0);

-- `head` is a Job without its specs, written at every change; `specs` is a Job with nothing else, written once.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  state INTEGER NOT NULL,
  etag TEXT NOT NULL,
  create_micros INTEGER NOT NULL,
  queued_ms INTEGER NOT NULL,
  total_ms INTEGER NOT NULL,
  head BLOB NOT NULL,
  specs BLOB NOT NULL
);
CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_by_name ON jobs (name, id);
-- What a start has to load, however many jobs have ended: 7, 8 and 9 are SUCCEEDED, FAILED and CANCELLED.
CREATE INDEX jobs_live ON jobs (id) WHERE state NOT IN (7, 8, 9);

CREATE TABLE job_labels (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (name, value, job_id)
) WITHOUT ROWID;

CREATE TABLE attempts (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  attempt INTEGER NOT NULL,
  state INTEGER NOT NULL,
  token BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (job_id, attempt)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  name TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  step INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (job_id, attempt, step)
) WITHOUT ROWID;

CREATE TABLE artifacts (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  attempt INTEGER NOT NULL,
  name TEXT NOT NULL,
  stored INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (job_id, attempt, name)
) WITHOUT ROWID;
CREATE INDEX artifacts_wanted ON artifacts (job_id) WHERE stored = 0;

-- A row is a run of records and gaps, or exactly one event; only events have a severity.
CREATE TABLE telemetry (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  first_sequence INTEGER NOT NULL,
  last_sequence INTEGER NOT NULL,
  severity INTEGER NOT NULL,
  segments BLOB NOT NULL,
  PRIMARY KEY (job_id, first_sequence)
);
CREATE INDEX telemetry_events ON telemetry (job_id, first_sequence) WHERE severity > 0;

CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  request BLOB NOT NULL,
  job_ids TEXT NOT NULL,
  create_micros INTEGER NOT NULL,
  PRIMARY KEY (tenant, request_id)
);
CREATE INDEX idempotency_by_age ON idempotency (create_micros);
