-- Jobs that are deleted, when jobs ended, and workers that are drained.

-- A deleted job keeps its row, in state 0, which no job has, until all that belongs to it is gone, a few rows at a time.
-- An IN builds its set for every row that is written, and an index is used by queries that say the same in the same words.
DROP INDEX jobs_live;
CREATE INDEX jobs_live ON jobs (id) WHERE state >= 1 AND state <= 6;
CREATE INDEX jobs_deleted ON jobs (id) WHERE state = 0;

-- Of jobs that have ended; what ended before this was written down is taken to have ended when it was submitted.
ALTER TABLE jobs ADD COLUMN end_micros INTEGER;
UPDATE jobs SET end_micros = create_micros WHERE state >= 7 AND state <= 9;
CREATE INDEX jobs_ended ON jobs (end_micros, id) WHERE state >= 7 AND state <= 9;

-- Found by their job when it is updated or goes.
CREATE INDEX job_labels_by_job ON job_labels (job_id);

CREATE TABLE drained_workers (
  id TEXT PRIMARY KEY
) WITHOUT ROWID;
