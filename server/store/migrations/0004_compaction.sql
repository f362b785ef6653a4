-- Rows of telemetry may be chunks, which hold what many rows held (Note [Compaction]); older programs cannot read them.

-- Jobs with records that nobody has looked at since they were written.
CREATE TABLE telemetry_uncompacted (
  job_id TEXT PRIMARY KEY
) WITHOUT ROWID;
INSERT INTO telemetry_uncompacted (job_id)
  SELECT id FROM jobs WHERE EXISTS (SELECT 1 FROM telemetry WHERE job_id = jobs.id AND severity = 0);
