-- Two checkpoints may be of one step, when every iteration between them was skipped; their names differ.

CREATE TABLE checkpoints_by_name (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  name TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  step INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (job_id, name)
) WITHOUT ROWID;
INSERT INTO checkpoints_by_name (job_id, name, attempt, step, manifest_sha256, body)
  SELECT job_id, name, attempt, step, manifest_sha256, body FROM checkpoints;
DROP TABLE checkpoints;
ALTER TABLE checkpoints_by_name RENAME TO checkpoints;
