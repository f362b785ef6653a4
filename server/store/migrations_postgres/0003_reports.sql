-- What studies have found: a serialised Report each, compressed. A later attempt's takes the place of an earlier one's.

CREATE TABLE reports (
  job_id TEXT COLLATE "C" PRIMARY KEY REFERENCES jobs (id),
  attempt BIGINT NOT NULL,
  create_micros BIGINT NOT NULL,
  body BYTEA NOT NULL
);
