// A scheduler over a fake store, with a clock that the test moves and workers that say what the test tells them to.
#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "proto/spec/defaults.h"
#include "proto/spec/features.h"
#include "server/core/checkpoint_policy.h"
#include "server/core/errors.h"
#include "server/core/scheduler.h"
#include "server/store/fake_store.h"

namespace mantissa::server {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline v1::JobSpec SyntheticSpec() {
  v1::JobSpec spec;
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
  spec.mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::FP32);
  spec.mutable_resources()->set_device(v1::ResourceSpec::CPU);
  return spec;
}

inline v1::Device CpuDevice(const std::string& id = "cpu-0") {
  v1::Device device;
  device.set_id(id);
  device.set_kind(v1::Device::CPU);
  device.set_cpu_threads(2);
  device.set_memory_bytes(int64_t{8} << 30);
  return device;
}

inline v1::Segment Records(int64_t first_attempt_sequence, int32_t first_iteration, int32_t count) {
  v1::Segment segment;
  segment.set_first_attempt_sequence(first_attempt_sequence);
  segment.set_count(count);
  v1::Column& iteration = *segment.mutable_records()->add_columns();
  iteration.set_standard(v1::Column::ITERATION);
  v1::Column& step = *segment.mutable_records()->add_columns();
  step.set_standard(v1::Column::STEP);
  v1::Column& loss = *segment.mutable_records()->add_columns();
  loss.set_standard(v1::Column::LOSS);
  for (int32_t i = 0; i < count; ++i) {
    iteration.mutable_integers()->add_values(first_iteration + i);
    step.mutable_integers()->add_values(first_iteration + i);
    loss.mutable_doubles()->add_values(1.0 / (first_iteration + i));
  }
  return segment;
}

class ControlPlane {
 public:
  explicit ControlPlane(SchedulerOptions options = {}) : options_(options) { Restart(); }

  // A new server process on what is durable.
  void Restart() {
    options_.epoch = store.BeginEpoch().value();
    scheduler = std::make_unique<Scheduler>(options_, Ids());
    scheduler->Load(store.Load().value(), now);
    changes = Changes();
  }

  // What a call appended, together with placement, becomes durable.
  void Commit() {
    scheduler->Place(now, changes);
    last = std::exchange(changes, Changes());
    if (!last.NeedsCommit()) return;
    absl::Status status = store.Commit(last);
    ASSERT_TRUE(status.ok()) << status;
  }

  v1::Job Submit(const v1::JobSpec& spec = SyntheticSpec(), const std::string& request_id = "") {
    auto job = scheduler->Submit(spec, spec::ResolveDefaults(spec), "default", request_id, now, changes);
    EXPECT_TRUE(job.ok()) << job.status();
    Commit();
    return *job;
  }

  absl::Status Cancel(const std::string& job_id) {
    absl::Status status = scheduler->Cancel(job_id, "", now, changes).status();
    Commit();
    return status;
  }

  absl::Status Pause(const std::string& job_id) { return Ask(&Scheduler::Pause, job_id); }
  absl::Status Resume(const std::string& job_id) { return Ask(&Scheduler::Resume, job_id); }
  absl::Status Requeue(const std::string& job_id) { return Ask(&Scheduler::Requeue, job_id); }
  using AskOfJob = absl::StatusOr<v1::Job> (Scheduler::*)(const std::string&, const std::string&, Moment, Changes&);
  absl::Status Ask(AskOfJob ask, const std::string& job_id, const std::string& etag = "") {
    absl::Status status = (*scheduler.*ask)(job_id, etag, now, changes).status();
    Commit();
    return status;
  }

  absl::Status Drain(const std::string& worker_id, bool undo = false) {
    absl::Status status = scheduler->DrainWorker(worker_id, undo, now, changes).status();
    Commit();
    return status;
  }

  absl::Status Delete(const std::string& job_id) {
    const JobDeletion deletion{job_id, Job(job_id).etag(), Job(job_id).tenant()};
    absl::Status status = scheduler->Delete(deletion, store.ListCheckpoints(job_id).value(), now, changes);
    Commit();
    return status;
  }

  std::vector<std::string> CancelThose(const std::vector<std::string>& job_ids, const std::set<v1::Job::State>& states,
                                       bool validate_only = false) {
    std::vector<std::string> cancelled = scheduler->CancelThose(job_ids, states, validate_only, now, changes);
    Commit();
    return cancelled;
  }

  void Pass(milliseconds time) {
    now.steady += time;
    now.wall += time;
    scheduler->Tick(now, changes);
    Commit();
  }

  // Lets time pass, deadline by deadline, until the job no longer waits.
  void PassUntilPlaced(const std::string& id) {
    for (int i = 0; i < 10 && StateOf(id) == v1::Job::QUEUED; ++i) PassToNextDeadline();
    EXPECT_EQ(StateOf(id), v1::Job::STARTING) << Job(id).ShortDebugString();
  }

  // Moves to the scheduler's next deadline and ticks.
  void PassToNextDeadline() {
    const auto next = scheduler->NextDeadline();
    ASSERT_LT(next, std::chrono::steady_clock::time_point::max());
    Pass(std::max(milliseconds(0), std::chrono::ceil<milliseconds>(next - now.steady)));
  }

  v1::Job Job(const std::string& id) { return store.GetJob(id, "").value(); }
  v1::Job::State StateOf(const std::string& id) { return Job(id).state(); }
  v1::Attempt Attempt(const std::string& id, int32_t number) {
    const std::vector<v1::Attempt> attempts = store.ListAttempts(id).value();
    for (const v1::Attempt& attempt : attempts) {
      if (attempt.number() == number) return attempt;
    }
    ADD_FAILURE() << "no attempt " << number;
    return {};
  }
  std::vector<v1::Segment> Telemetry(const std::string& id) {
    return store.ReadTelemetry(id, 1, int64_t{1} << 40).value().segments;
  }

  absl::StatusOr<int64_t> Append(const v1::AttemptRef& ref, std::vector<v1::Segment> segments) {
    auto through = scheduler->AppendTelemetry(ref, std::move(segments), now, changes);
    Commit();
    return through;
  }

  absl::StatusOr<v1::CommitCheckpointResponse> CommitCheckpoint(const v1::AttemptRef& ref, int32_t step,
                                                                bool finite = true, char hash = 'a',
                                                                const std::string& storage = "storage-1") {
    v1::CommitCheckpointRequest request;
    *request.mutable_ref() = ref;
    v1::Checkpoint& checkpoint = *request.mutable_checkpoint();
    checkpoint.set_name(CheckpointName(ref.attempt(), step));
    checkpoint.set_step(step);
    checkpoint.set_iteration(step);
    checkpoint.set_storage_id(storage);
    checkpoint.set_path(absl::StrCat(ref.job_id(), "/", checkpoint.name()));
    checkpoint.set_size_bytes(100);
    checkpoint.set_manifest_sha256(std::string(64, hash));
    checkpoint.set_finite(finite);
    auto response = scheduler->CommitCheckpoint(request, now, changes);
    Commit();
    return response;
  }

  FakeStore store;
  Moment now{std::chrono::steady_clock::time_point(std::chrono::hours(1)),
             std::chrono::system_clock::time_point(seconds(1'767'225'600))};
  std::unique_ptr<Scheduler> scheduler;
  Changes changes;
  Changes last;

 private:
  IdSource Ids() {
    return {[this](auto) { return absl::StrFormat("01%024d", ++made_); },
            [this] { return absl::StrFormat("token%011d", ++made_); }};
  }

  SchedulerOptions options_;
  int made_ = 0;
};

// An agent as the protocol sees it: reports what it holds, takes the newest answer.
class FakeWorker {
 public:
  FakeWorker(ControlPlane& plane, const std::string& id, std::vector<v1::Device> devices = {CpuDevice()})
      : plane_(plane) {
    request_.set_worker_id(id);
    request_.set_session_id(id + "-session-1");
    for (const v1::Device& device : devices) *request_.add_devices() = device;
    for (const std::string& feature : spec::BuiltFeatures()) request_.add_features(feature);
    v1::Root& root = *request_.add_roots();
    root.set_name("checkpoints");
    root.set_storage_id("storage-1");
    root.set_writable(true);
  }

  v1::SynchronizeRequest& request() { return request_; }
  const v1::SynchronizeResponse& answer() const { return answer_; }

  // Reports `held` and reads the answer.
  absl::Status Sync() {
    request_.set_report_number(request_.report_number() + 1);
    absl::Status status = Send();
    if (status.ok()) Read();
    return status;
  }
  absl::Status Send() {
    request_.clear_attempts();
    for (const v1::AttemptReport& report : held) *request_.add_attempts() = report;
    absl::Status status = plane_.scheduler->Report(request_, plane_.now, plane_.changes);
    plane_.Commit();
    return status;
  }
  // Takes the desired state in, and carries it out in what it will report next.
  void Read() {
    answer_ = plane_.scheduler->DesiredState(request_.worker_id(), plane_.now);
    request_.set_applied_revision(answer_.desired_revision());
    std::vector<v1::AttemptReport> next;
    for (const v1::DesiredAttempt& desired : answer_.attempts()) {
      if (desired.goal() == v1::DesiredAttempt::FORGET) continue;
      auto known = std::find_if(held.begin(), held.end(), [&](const v1::AttemptReport& report) {
        return report.ref().SerializeAsString() == desired.ref().SerializeAsString();
      });
      if (known != held.end()) {
        next.push_back(*known);
      } else if (desired.has_assignment()) {
        v1::AttemptReport& report = next.emplace_back();
        *report.mutable_ref() = desired.ref();
        report.set_state(v1::Attempt::STARTING);
      }
    }
    held = std::move(next);
  }
  void RestartAgent() {
    request_.set_session_id(request_.session_id() + "+");
    request_.set_report_number(0);
    request_.set_applied_revision(0);
    held.clear();
  }

  // Takes the first assignment and reports it as running.
  v1::AttemptRef RunFirst() {
    EXPECT_TRUE(Sync().ok());
    EXPECT_EQ(held.size(), 1u);
    held[0].set_state(v1::Attempt::RUNNING);
    EXPECT_TRUE(Sync().ok());
    return held[0].ref();
  }
  // Reports the end of the only attempt it holds.
  absl::Status End(v1::Attempt::State state, v1::Reason::Code reason = v1::Reason::REASON_UNSPECIFIED,
                   int64_t last_attempt_sequence = 0) {
    held.at(0).set_state(state);
    held.at(0).set_reason(reason);
    held.at(0).set_last_attempt_sequence(last_attempt_sequence);
    return Sync();
  }

  std::vector<v1::AttemptReport> held;

 private:
  ControlPlane& plane_;
  v1::SynchronizeRequest request_;
  v1::SynchronizeResponse answer_;
};

}  // namespace mantissa::server
