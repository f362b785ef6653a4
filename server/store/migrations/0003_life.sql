-- Jobs that are deleted, when jobs ended, and workers that are drained.

-- A deleted job keeps its row, in state 0, which no job has, until all that belongs to it is gone, a few rows at a time.
DROP INDEX jobs_live;
CREATE INDEX jobs_live ON jobs (id) WHERE state NOT IN (0, 7, 8, 9);
CREATE INDEX jobs_deleted ON jobs (id) WHERE state = 0;

-- Of jobs that have ended; what ended before this was written down is taken to have ended when it was submitted.
ALTER TABLE jobs ADD COLUMN end_micros INTEGER;
UPDATE jobs SET end_micros = create_micros WHERE state IN (7, 8, 9);
CREATE INDEX jobs_ended ON jobs (end_micros, id) WHERE state IN (7, 8, 9);

-- Found by their job when it is updated or goes.
CREATE INDEX job_labels_by_job ON job_labels (job_id);

CREATE TABLE drained_workers (
  id TEXT PRIMARY KEY
) WITHOUT ROWID;
