// Rows to store, small and valid.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "server/core/changes.h"
#include "server/core/checkpoint_policy.h"
#include "tests/unit/whole_job.h"

namespace mantissa::server {

inline std::string SampleId(int number) { return absl::StrFormat("01%024d", number); }

inline v1::Job SampleJob(int number, v1::Job::State state = v1::Job::QUEUED) {
  v1::Job job;
  job.set_id(SampleId(number));
  job.set_tenant("default");
  job.set_name("digits");
  job.mutable_spec()->set_name("digits");
  job.mutable_resolved_spec()->set_priority(7);
  job.set_state(state);
  job.set_etag("1");
  job.mutable_create_time()->set_seconds(1000 + number);
  return job;
}

inline v1::Attempt SampleAttempt(int job, int32_t number, v1::Attempt::State state = v1::Attempt::STARTING,
                                 const std::string& token = "0123456789abcdef") {
  v1::Attempt attempt;
  attempt.set_job_id(SampleId(job));
  attempt.set_number(number);
  attempt.set_state(state);
  v1::Placement& placement = *attempt.add_placements();
  placement.set_worker_id("ws-1");
  placement.add_device_ids("cpu-0");
  placement.set_token(token);
  return attempt;
}

inline v1::Checkpoint SampleCheckpoint(int job, int32_t attempt, int32_t step, char hash = 'a') {
  v1::Checkpoint checkpoint;
  checkpoint.set_job_id(SampleId(job));
  checkpoint.set_attempt(attempt);
  checkpoint.set_step(step);
  checkpoint.set_name(CheckpointName(attempt, step));
  checkpoint.set_manifest_sha256(std::string(64, hash));
  return checkpoint;
}

inline TelemetryWrite SampleRecords(int job, int64_t first_sequence, int32_t count, int32_t attempt = 1,
                                    int64_t first_attempt_sequence = 1) {
  TelemetryWrite write{SampleId(job), {}};
  write.segment.set_first_sequence(first_sequence);
  write.segment.set_attempt(attempt);
  write.segment.set_first_attempt_sequence(first_attempt_sequence);
  write.segment.set_count(count);
  v1::Column& column = *write.segment.mutable_records()->add_columns();
  column.set_standard(v1::Column::ITERATION);
  for (int32_t i = 0; i < count; ++i) column.mutable_integers()->add_values(first_attempt_sequence + i);
  return write;
}

inline TelemetryWrite SampleEvent(int job, int64_t sequence, v1::JobEvent::Severity severity = v1::JobEvent::INFO) {
  TelemetryWrite write{SampleId(job), {}};
  write.segment.set_first_sequence(sequence);
  write.segment.set_count(1);
  write.segment.mutable_event()->set_severity(severity);
  write.segment.mutable_event()->set_message(absl::StrCat("event ", sequence));
  return write;
}

inline Changes NewJob(int number, v1::Job::State state = v1::Job::QUEUED) {
  Changes changes;
  PutWhole(changes, SampleJob(number, state), "", {});
  return changes;
}

}  // namespace mantissa::server
