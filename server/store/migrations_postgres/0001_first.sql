-- The same tables as SQLite's newest schema. Blobs are serialised messages of mantissa.v1; the columns beside them are
-- what statements look for. Texts compare by their bytes ("C"), whatever the database's language: ids sort by age.

CREATE TABLE server (
  only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
  epoch BIGINT NOT NULL
);
INSERT INTO server (only_row, epoch) VALUES (1, 0);

-- `head` is a Job without its specs, written at every change; `specs` is a Job with nothing else. A deleted job keeps its
-- row, in state 0, which no job has, until all that belongs to it is gone, a few rows at a time.
CREATE TABLE jobs (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  state BIGINT NOT NULL,
  etag TEXT COLLATE "C" NOT NULL,
  create_micros BIGINT NOT NULL,
  queued_ms BIGINT NOT NULL,
  total_ms BIGINT NOT NULL,
  end_micros BIGINT NOT NULL,
  head BYTEA NOT NULL,
  specs BYTEA NOT NULL
);
CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_by_name ON jobs (name, id);
-- What a start has to load, however many jobs have ended: 7, 8 and 9 are SUCCEEDED, FAILED and CANCELLED.
CREATE INDEX jobs_live ON jobs (id) WHERE state NOT IN (0, 7, 8, 9);
CREATE INDEX jobs_deleted ON jobs (id) WHERE state = 0;
CREATE INDEX jobs_ended ON jobs (end_micros, id) WHERE state IN (7, 8, 9);

CREATE TABLE job_labels (
  job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
  name TEXT COLLATE "C" NOT NULL,
  value TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (name, value, job_id)
);
-- Found by their job when it is updated or goes.
CREATE INDEX job_labels_by_job ON job_labels (job_id);

CREATE TABLE attempts (
  job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
  attempt BIGINT NOT NULL,
  state BIGINT NOT NULL,
  token BYTEA NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (job_id, attempt)
);

-- Two checkpoints may be of one step, when every iteration between them was skipped; their names differ.
CREATE TABLE checkpoints (
  job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
  name TEXT COLLATE "C" NOT NULL,
  attempt BIGINT NOT NULL,
  step BIGINT NOT NULL,
  manifest_sha256 TEXT COLLATE "C" NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (job_id, name)
);

CREATE TABLE artifacts (
  job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
  attempt BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  stored BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (job_id, attempt, name)
);
CREATE INDEX artifacts_wanted ON artifacts (job_id) WHERE stored = 0;

-- A row is a run of records and gaps, or exactly one event; only events have a severity.
CREATE TABLE telemetry (
  job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
  first_sequence BIGINT NOT NULL,
  last_sequence BIGINT NOT NULL,
  severity BIGINT NOT NULL,
  segments BYTEA NOT NULL,
  PRIMARY KEY (job_id, first_sequence)
);
CREATE INDEX telemetry_events ON telemetry (job_id, first_sequence) WHERE severity > 0;

CREATE TABLE drained_workers (
  id TEXT COLLATE "C" PRIMARY KEY
);

CREATE TABLE idempotency (
  tenant TEXT COLLATE "C" NOT NULL,
  request_id TEXT COLLATE "C" NOT NULL,
  request BYTEA NOT NULL,
  job_ids TEXT COLLATE "C" NOT NULL,
  create_micros BIGINT NOT NULL,
  PRIMARY KEY (tenant, request_id)
);
CREATE INDEX idempotency_by_age ON idempotency (create_micros);

-- How a transaction that is sent whole, with its COMMIT, ends itself when a condition does not hold: each statement hands
-- what it found to one of these. The codes are theirs alone, so that the sender can tell them from any other failure.
CREATE FUNCTION require_one_row(changed BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
  IF changed <> 1 THEN
    RAISE EXCEPTION 'not what it was when this was decided' USING ERRCODE = 'MNT01';
  END IF;
  RETURN changed;
END $$;

CREATE FUNCTION require_epoch(stored BIGINT, held BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
  IF stored IS DISTINCT FROM held THEN
    RAISE EXCEPTION 'another server has taken over: the epoch is %, and this server''s is %', stored, held
      USING ERRCODE = 'MNT02';
  END IF;
  RETURN stored;
END $$;
