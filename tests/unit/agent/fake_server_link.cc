#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {

using process::MutexLock;

std::deque<FakeServerLink::SyncCall> FakeServerLink::TakeSyncs() {
  MutexLock lock(mutex_);
  return std::exchange(syncs_, {});
}

std::deque<FakeServerLink::CommitCall> FakeServerLink::TakeCommits() {
  MutexLock lock(mutex_);
  return std::exchange(commits_, {});
}

std::vector<std::shared_ptr<TelemetrySide>> FakeServerLink::Telemetry() {
  MutexLock lock(mutex_);
  return telemetry_;
}

std::vector<std::shared_ptr<LogsSide>> FakeServerLink::Logs() {
  MutexLock lock(mutex_);
  return logs_;
}

std::vector<FakeServerLink::UploadedFile> FakeServerLink::Uploads() {
  MutexLock lock(mutex_);
  return uploads_;
}

int FakeServerLink::renewals() {
  MutexLock lock(mutex_);
  return renewals_;
}

void FakeServerLink::FailUploads(absl::Status status) {
  MutexLock lock(mutex_);
  upload_failure_ = std::move(status);
}

void FakeServerLink::Synchronize(const v1::SynchronizeRequest& request, std::chrono::milliseconds deadline,
                                 SyncDone done) {
  MutexLock lock(mutex_);
  syncs_.push_back({request, deadline, std::move(done)});
}

void FakeServerLink::CommitCheckpoint(const v1::CommitCheckpointRequest& request, std::chrono::milliseconds,
                                      CommitDone done) {
  MutexLock lock(mutex_);
  commits_.push_back({request, std::move(done)});
}

std::unique_ptr<TelemetryStream> FakeServerLink::OpenTelemetry(StreamEvents<v1::PublishTelemetryResponse> events) {
  auto side = std::make_shared<TelemetrySide>();
  side->events = std::move(events);
  MutexLock lock(mutex_);
  telemetry_.push_back(side);
  return std::make_unique<FakeStream<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse>>(side);
}

std::unique_ptr<LogsStream> FakeServerLink::OpenLogs(StreamEvents<v1::PublishLogsResponse> events) {
  auto side = std::make_shared<LogsSide>();
  side->events = std::move(events);
  MutexLock lock(mutex_);
  logs_.push_back(side);
  return std::make_unique<FakeStream<v1::PublishLogsRequest, v1::PublishLogsResponse>>(side);
}

absl::Status FakeServerLink::UploadArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact,
                                            const ChunkSource& next) {
  std::string bytes;
  while (true) {
    absl::StatusOr<std::string> chunk = next();
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) break;
    bytes += *chunk;
  }
  MutexLock lock(mutex_);
  if (!upload_failure_.ok()) return upload_failure_;
  uploads_.push_back({ref, artifact, std::move(bytes)});
  return absl::OkStatus();
}

void FakeServerLink::Renew() {
  MutexLock lock(mutex_);
  ++renewals_;
}

v1::AttemptRef MakeRef(const std::string& job_id, int attempt) {
  v1::AttemptRef ref;
  ref.set_job_id(job_id);
  ref.set_attempt(attempt);
  ref.set_token("0123456789abcdef");
  return ref;
}

v1::Segment MakeRecords(std::int64_t first, int count, double loss) {
  v1::Segment segment;
  segment.set_first_attempt_sequence(first);
  segment.set_count(count);
  v1::Column& iteration = *segment.mutable_records()->add_columns();
  iteration.set_standard(v1::Column::ITERATION);
  v1::Column& losses = *segment.mutable_records()->add_columns();
  losses.set_standard(v1::Column::LOSS);
  v1::Column& applied = *segment.mutable_records()->add_columns();
  applied.set_standard(v1::Column::APPLIED);
  for (int i = 0; i < count; ++i) {
    iteration.mutable_integers()->add_values(first + i);
    losses.mutable_doubles()->add_values(loss);
    applied.mutable_bools()->add_values(i != 0);  // the first of each is skipped
  }
  return segment;
}

v1::Segment MakeEvent(std::int64_t sequence) {
  v1::Segment segment;
  segment.set_first_attempt_sequence(sequence);
  segment.set_count(1);
  segment.mutable_event()->set_reason("TEST");
  return segment;
}

}  // namespace mantissa::agent
