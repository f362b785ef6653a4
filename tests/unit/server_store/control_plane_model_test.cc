// The scheduler over SQLite under random interleavings of submit, cancel, pause, resume, requeue, update, delete,
// drain, report, lost replies, telemetry, checkpoints, interventions, time, agents that restart or are cut off, and
// servers that restart. After every commit the invariants are looked for in the store.
#include <algorithm>
#include <map>
#include <random>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "proto/spec/defaults.h"
#include "proto/spec/features.h"
#include "proto/spec/lineage.h"
#include "server/core/job_state.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    store_ = SqliteStore::Open(folder_ / "jobs.db", clock_).value();
    Start();
    for (int i = 0; i < 2; ++i) agents_.push_back({absl::StrFormat("ws-%d", i), "s", 0, 0, {}, {}});
  }

  int interventions() const { return interventions_; }
  int revivals() const { return revivals_; }
  int pauses() const { return pauses_; }
  int deletions() const { return deletions_; }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) Step();
    Settle();
  }

 private:
  struct Agent {
    std::string id;
    std::string session;
    int64_t report_number = 0;
    int64_t applied_revision = 0;
    std::map<std::pair<std::string, int32_t>, v1::AttemptReport> held;
    std::vector<v1::AttemptRef> former;  // what a zombie still speaks for
  };

  int Pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Moment Now() { return {clock_.Now(), clock_.WallNow()}; }

  void Start() {
    SchedulerOptions options;
    options.epoch = store_->BeginEpoch().value();
    scheduler_ = std::make_unique<Scheduler>(options, IdSource{[this](auto) { return SampleId(++made_); },
                                                               [this] { return absl::StrFormat("%016d", ++made_); }});
    scheduler_->Load(store_->Load().value(), Now());
    changes_ = Changes();
  }

  void Commit() {
    if (scheduler_->NextDeadline() <= clock_.Now()) scheduler_->Tick(Now(), changes_);
    scheduler_->Place(Now(), changes_);
    const Changes changes = std::exchange(changes_, Changes());
    if (!changes.NeedsCommit()) return;
    absl::Status status = store_->Commit(changes);
    ASSERT_TRUE(status.ok()) << status;
    for (const JobWrite& write : changes.jobs) CheckJob(write.job.id());
    for (const JobDeletion& deletion : changes.deletions) {
      ASSERT_TRUE(absl::IsNotFound(store_->GetJob(deletion.job_id, "").status()));
      std::erase(ids_, deletion.job_id);
      ++deletions_;
    }
    for (const TelemetryWrite& write : changes.telemetry) {
      int64_t& last = last_sequence_[write.job_id];
      ASSERT_EQ(write.segment.first_sequence(), last + 1) << "a hole in the sequences";
      last += write.segment.count();
    }
  }

  void CheckJob(const std::string& id) {
    const v1::Job job = store_->GetJob(id, "").value();
    v1::Job& before = known_[id];
    if (IsTerminal(before.state())) {
      ASSERT_EQ(before.SerializeAsString(), job.SerializeAsString()) << "a terminal job changed";
    }
    ASSERT_GE(job.attempt(), before.attempt()) << "attempt numbers only grow";
    const std::vector<v1::Attempt> attempts = store_->ListAttempts(id).value();
    ASSERT_EQ(static_cast<int32_t>(attempts.size()), job.attempt());
    int live = 0;
    for (const v1::Attempt& attempt : attempts) {
      live += !IsTerminal(attempt.state());
      ASSERT_TRUE(IsTerminal(attempt.state()) || attempt.number() == job.attempt()) << "an older attempt lives";
      v1::Attempt::State& state = attempt_states_[{id, attempt.number()}];
      // One that was only out of reach may be back, while there is no other.
      const bool revived =
          state == v1::Attempt::LOST && before.state() == v1::Job::QUEUED && before.attempt() == attempt.number();
      ASSERT_TRUE(!IsTerminal(state) || state == attempt.state() || revived) << "an ended attempt changed";
      revivals_ += revived && state != attempt.state();
      state = attempt.state();
    }
    const bool should_live = job.state() == v1::Job::STARTING || job.state() == v1::Job::RUNNING ||
                             job.state() == v1::Job::PAUSING || job.state() == v1::Job::CANCELLING;
    ASSERT_EQ(live, should_live ? 1 : 0) << v1::Job::State_Name(job.state());
    pauses_ += job.state() == v1::Job::PAUSED && before.state() != v1::Job::PAUSED;
    CheckLineage(job, before, attempts);
    before = job;
  }

  void CheckLineage(const v1::Job& job, const v1::Job& before, const std::vector<v1::Attempt>& attempts) {
    const auto interventions = std::count_if(attempts.begin(), attempts.end(), [](const v1::Attempt& attempt) {
      return attempt.reason() == v1::Reason::ROLLED_BACK || attempt.reason() == v1::Reason::FELL_BACK;
    });
    ASSERT_EQ(spec::LineageOf(job).number(), 1 + interventions) << "each is recorded once, with its lineage";
    interventions_ += spec::LineageOf(job).number() - (before.has_lineage() ? before.lineage().number() : 1);
    std::map<std::string, v1::Checkpoint> kept;
    std::vector<v1::Checkpoint> checkpoints = store_->ListCheckpoints(job.id()).value();
    for (v1::Checkpoint& checkpoint : checkpoints) {
      kept[checkpoint.name()] = std::move(checkpoint);
    }
    const bool begun = job.lineage().number() > before.lineage().number();
    if (begun && !job.lineage().checkpoint().empty()) {
      ASSERT_TRUE(kept[job.lineage().checkpoint()].finite()) << "it went back to what is not there, or not finite";
    }
    for (const v1::Attempt& attempt : attempts) {
      if (IsTerminal(attempt.state()) || attempt.resumed_from().empty()) continue;
      ASSERT_EQ(kept.count(attempt.resumed_from()), 1u) << "the checkpoint of a live attempt is gone";
      ASSERT_FALSE(kept[attempt.resumed_from()].abandoned()) << "it starts from an abandoned checkpoint";
    }
  }

  void Step() {
    switch (Pick(20)) {
      case 0:
      case 1:
        Submit();
        break;
      case 2:
        Cancel();
        break;
      case 3:
        if (Pick(4) == 0) Start();
        break;
      case 4: {  // an agent dies and comes back
        if (Pick(3) != 0) break;
        Agent& agent = agents_[Pick(2)];
        for (auto& [key, report] : agent.held) agent.former.push_back(report.ref());
        agent = {agent.id, agent.session + "+", 0, 0, {}, agent.former};
        break;
      }
      case 5:
        clock_.Advance(milliseconds(Pick(20) == 0 ? 31'000 : Pick(4'000)));
        break;
      case 16:
        Ask();
        break;
      case 17:
        Ask();
        break;
      case 18:
        Drain(/*undo=*/Pick(3) != 0);
        break;
      case 19:
        Delete();
        break;
      case 6:
        clock_.StepWall(std::chrono::hours(Pick(5) - 2));
        break;
      case 7:
        Zombie();
        break;
      case 8:
      case 9:
        Telemetry();
        break;
      case 10:
        Checkpoint();
        break;
      default:
        Synchronize(agents_[Pick(2)], /*reply_lost=*/Pick(5) == 0);
    }
    Commit();
  }

  void Submit() {
    v1::JobSpec spec;
    spec.mutable_training()->mutable_model()->mutable_mlp();
    spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
    spec.mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::FP32);
    spec.mutable_resources()->set_device(v1::ResourceSpec::CPU);
    if (Pick(2) == 0) {
      v1::PrecisionSpec& precision = *spec.mutable_training()->mutable_precision();
      precision.set_on_failure(Pick(2) == 0 ? v1::PrecisionSpec::ROLLBACK : v1::PrecisionSpec::FALLBACK);
      precision.add_fallback(v1::PrecisionSpec::BF16);
    }
    spec.set_priority(Pick(3));
    if (Pick(4) == 0) spec.mutable_timeouts()->mutable_total()->set_seconds(5 + Pick(60));
    if (Pick(4) == 0) spec.mutable_timeouts()->mutable_queue()->set_seconds(1 + Pick(20));
    if (Pick(4) == 0) spec.mutable_retry()->set_max_attempts(1);
    const std::string request_id = absl::StrFormat("r-%d", Pick(10));
    const std::optional<IdempotencyWrite> known = store_->FindIdempotency("default", request_id).value();
    if (known) return;
    auto job = scheduler_->Submit(spec, spec::ResolveDefaults(spec), "default", Pick(2) == 0 ? request_id : "", Now(),
                                  changes_);
    if (job.ok()) ids_.push_back(job->id());
  }

  void Cancel() {
    if (ids_.empty()) return;
    const std::string id = ids_[Pick(static_cast<int>(ids_.size()))];
    if (Pick(3) != 0) {
      scheduler_->Cancel(id, "", Now(), changes_).status().IgnoreError();
      return;
    }
    // With another, as a filter would name them.
    const std::vector<std::string> listed = {id, ids_[Pick(static_cast<int>(ids_.size()))]};
    const bool validate_only = Pick(4) == 0;
    scheduler_->CancelThose(listed, {v1::Job::QUEUED, v1::Job::RUNNING}, validate_only, Now(), changes_);
  }

  void Ask() {
    if (ids_.empty()) return;
    const std::string id = ids_[Pick(static_cast<int>(ids_.size()))];
    switch (Pick(5)) {
      case 0:
      case 1:
        scheduler_->Pause(id, "", Now(), changes_).status().IgnoreError();
        break;
      case 2:
        scheduler_->Resume(id, "", Now(), changes_).status().IgnoreError();
        break;
      case 3:
        scheduler_->Requeue(id, "", Now(), changes_).status().IgnoreError();
        break;
      default: {
        v1::Job job = store_->GetJob(id, "").value();
        job.mutable_spec()->set_priority(Pick(3));
        job.mutable_resolved_spec()->set_priority(job.spec().priority());
        (*job.mutable_spec()->mutable_labels())["round"] = absl::StrFormat("%d", Pick(4));
        *job.mutable_resolved_spec()->mutable_labels() = job.spec().labels();
        scheduler_->Update(id, "", job.spec_revision(), job.spec(), job.resolved_spec(), Now(), changes_)
            .status()
            .IgnoreError();
      }
    }
  }

  void Drain(bool undo) { scheduler_->DrainWorker(agents_[Pick(2)].id, undo, Now(), changes_).status().IgnoreError(); }

  void Delete() {
    if (ids_.empty() || Pick(4) != 0) return;
    const std::string id = ids_[Pick(static_cast<int>(ids_.size()))];
    const JobDeletion deletion{id, store_->GetJob(id, "").value().etag(), "default"};
    const absl::Status deleted = scheduler_->Delete(deletion, store_->ListCheckpoints(id).value(), Now(), changes_);
    ASSERT_EQ(deleted.ok(), IsTerminal(known_[id].state())) << deleted;
  }

  void Synchronize(Agent& agent, bool reply_lost) {
    v1::SynchronizeRequest request;
    request.set_worker_id(agent.id);
    request.set_session_id(agent.session);
    request.set_report_number(++agent.report_number);
    request.set_applied_revision(agent.applied_revision);
    v1::Device& device = *request.add_devices();
    device.set_id("cpu-0");
    device.set_kind(v1::Device::CPU);
    device.set_cpu_threads(4);
    for (const std::string& feature : spec::BuiltFeatures()) request.add_features(feature);
    request.add_roots()->set_storage_id("disk-1");
    request.set_draining(Pick(30) == 0);
    for (auto& [key, report] : agent.held) {
      Advance(report);
      *request.add_attempts() = report;
    }
    absl::Status status = scheduler_->Report(request, Now(), changes_);
    ASSERT_TRUE(status.ok()) << status;
    Commit();
    if (reply_lost) return;
    const v1::SynchronizeResponse answer = scheduler_->DesiredState(agent.id, Now());
    agent.applied_revision = answer.desired_revision();
    std::map<std::pair<std::string, int32_t>, v1::AttemptReport> held;
    for (const v1::DesiredAttempt& desired : answer.attempts()) {
      const std::pair<std::string, int32_t> key(desired.ref().job_id(), desired.ref().attempt());
      auto known = agent.held.find(key);
      if (desired.goal() == v1::DesiredAttempt::FORGET) continue;
      if (known != agent.held.end()) {
        v1::AttemptReport report = known->second;
        if (desired.goal() == v1::DesiredAttempt::CANCEL && !IsTerminal(report.state())) {
          report.set_state(v1::Attempt::CANCELLED);
        }
        if (desired.goal() == v1::DesiredAttempt::STOP_WITH_CHECKPOINT && !IsTerminal(report.state())) {
          if (Pick(4) == 0) {
            report.set_declined_stops(report.declined_stops() + 1);
          } else {
            report.set_state(v1::Attempt::FAILED);
            report.set_reason(v1::Reason::WORKER_STOPPED);
            report.set_last_attempt_sequence(sent_[report.ref().token()]);
          }
        }
        held[key] = report;
      } else if (desired.has_assignment()) {
        held[key].set_state(v1::Attempt::STARTING);
        *held[key].mutable_ref() = desired.ref();
      }
    }
    for (auto& [key, report] : agent.held) {
      if (held.count(key) == 0) agent.former.push_back(report.ref());
    }
    agent.held = std::move(held);
  }

  // What a trainer may come to between two reports.
  void Advance(v1::AttemptReport& report) {
    if (IsTerminal(report.state())) return;
    const int dice = Pick(12);
    if (dice < 4) report.set_state(v1::Attempt::RUNNING);
    if (dice == 4) report.set_state(v1::Attempt::SUCCEEDED);
    if (dice == 5) {
      report.set_state(v1::Attempt::FAILED);
      report.set_reason(Pick(2) == 0 ? v1::Reason::CRASHED : v1::Reason::NUMERIC_FAILURE);
    }
    if (dice == 6 || dice == 7) {
      report.set_state(v1::Attempt::FAILED);
      report.set_reason(v1::Reason::SCALE_AT_MINIMUM);
      v1::IndexRange& iterations = *report.mutable_intervention()->mutable_iterations();
      iterations.set_first(40 + Pick(200));
      iterations.set_last(iterations.first() + Pick(5));
    }
    if (IsTerminal(report.state())) report.set_last_attempt_sequence(sent_[report.ref().token()] + Pick(3));
  }

  void Telemetry() {
    Agent& agent = agents_[Pick(2)];
    for (auto& [key, report] : agent.held) {
      int64_t& sent = sent_[report.ref().token()];
      const int64_t from = std::max<int64_t>(1, sent + 1 - Pick(3));
      TelemetryWrite records = SampleRecords(1, 0, 1 + Pick(5), 0, from);
      records.segment.clear_first_sequence();
      const int64_t last = from + records.segment.count() - 1;
      auto through = scheduler_->AppendTelemetry(report.ref(), {records.segment}, Now(), changes_);
      if (through.ok()) {
        ASSERT_GE(*through, last);
        sent = std::max(sent, last);
      }
    }
  }

  void Checkpoint() {
    Agent& agent = agents_[Pick(2)];
    for (auto& [key, report] : agent.held) {
      v1::CommitCheckpointRequest request;
      *request.mutable_ref() = report.ref();
      v1::Checkpoint& checkpoint = *request.mutable_checkpoint();
      checkpoint.set_step(Pick(50));
      checkpoint.set_iteration(checkpoint.step() == 0 ? 0 : 50);
      checkpoint.set_name(CheckpointName(report.ref().attempt(), checkpoint.step()));
      checkpoint.set_storage_id("disk-1");
      checkpoint.set_path(request.ref().job_id() + "/" + checkpoint.name());
      checkpoint.set_manifest_sha256(std::string(64, 'a'));
      checkpoint.set_finite(Pick(2) == 0);
      scheduler_->CommitCheckpoint(request, Now(), changes_).status().IgnoreError();
    }
  }

  // Whoever was let go speaks again, and is not heard.
  void Zombie() {
    Agent& agent = agents_[Pick(2)];
    for (const v1::AttemptRef& ref : agent.former) {
      const Changes before = changes_;
      const bool current = agent.held.count({ref.job_id(), ref.attempt()}) > 0;
      const auto job = known_.find(ref.job_id());
      // What may still come back is no zombie.
      const bool waits = job != known_.end() && job->second.state() == v1::Job::QUEUED &&
                         job->second.attempt() == ref.attempt() &&
                         attempt_states_[{ref.job_id(), ref.attempt()}] == v1::Attempt::LOST;
      if (current || waits) continue;
      auto through = scheduler_->AppendTelemetry(ref, {}, Now(), changes_);
      if (!attempt_states_.count({ref.job_id(), ref.attempt()}) ||
          IsTerminal(attempt_states_[{ref.job_id(), ref.attempt()}])) {
        ASSERT_EQ(through.status().code(), absl::StatusCode::kAborted);
        ASSERT_EQ(changes_.telemetry.size(), before.telemetry.size());
      }
    }
  }

  // Left in peace, everything comes to an end.
  void Settle() {
    for (Agent& agent : agents_) scheduler_->DrainWorker(agent.id, true, Now(), changes_).status().IgnoreError();
    Commit();
    for (int round = 0; round < 2'000 && !testing::Test::HasFailure(); ++round) {
      const bool done =
          std::all_of(ids_.begin(), ids_.end(), [&](const std::string& id) { return IsTerminal(known_[id].state()); });
      if (done) return;
      for (const std::string& id : ids_) {
        if (known_[id].state() == v1::Job::PAUSED) scheduler_->Resume(id, "", Now(), changes_).status().IgnoreError();
      }
      clock_.Advance(milliseconds(500));
      Commit();
      for (Agent& agent : agents_) Synchronize(agent, false);
    }
    for (const std::string& id : ids_) {
      EXPECT_TRUE(IsTerminal(known_[id].state())) << "stuck: " << known_[id].ShortDebugString();
    }
  }

  std::mt19937_64 random_;
  TempFolder folder_{TempFolder::InMemory()};
  process::FakeClock clock_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<Scheduler> scheduler_;
  Changes changes_;
  int made_ = 0;
  std::vector<Agent> agents_;
  std::vector<std::string> ids_;
  std::map<std::string, v1::Job> known_;
  std::map<std::pair<std::string, int32_t>, v1::Attempt::State> attempt_states_;
  std::map<std::string, int64_t> last_sequence_;
  std::map<std::string, int64_t> sent_;  // token -> newest attempt_sequence given
  int interventions_ = 0;
  int revivals_ = 0;
  int pauses_ = 0;
  int deletions_ = 0;
};

// MANTISSA_SEED runs one seed alone, MANTISSA_SEEDS that many: from that seed on where both are said, else from 1.
TEST(ControlPlaneModel, InvariantsHoldUnderRandomInterleavings) {
  const char* only = std::getenv("MANTISSA_SEED");
  const char* many = std::getenv("MANTISSA_SEEDS");
  const uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  const uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : only != nullptr ? 1 : 100;
  int interventions = 0, revivals = 0, pauses = 0, deletions = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrFormat("MANTISSA_SEED=%d", seed));
    Simulation simulation(seed);
    simulation.Run(120);
    interventions += simulation.interventions();
    revivals += simulation.revivals();
    pauses += simulation.pauses();
    deletions += simulation.deletions();
    if (testing::Test::HasFailure()) return;
  }
  // Else what is said of them above was never looked at.
  EXPECT_TRUE(count < 10 || (interventions > 0 && revivals > 0 && pauses > 0 && deletions > 0))
      << interventions << " interventions, " << revivals << " revivals, " << pauses << " pauses, " << deletions
      << " deletions";
}

}  // namespace
}  // namespace mantissa::server
