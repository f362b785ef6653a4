-- What studies have found: a serialised Report each, compressed. A later attempt's takes the place of an earlier one's.

CREATE TABLE reports (
  job_id TEXT PRIMARY KEY REFERENCES jobs (id),
  attempt INTEGER NOT NULL,
  create_micros INTEGER NOT NULL,
  body BLOB NOT NULL
) WITHOUT ROWID;
