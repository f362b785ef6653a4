// One attempt as an agent would have it run, on the worker's real roots, over a real socketpair.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/fake_clock.h"
#include "tests/unit/trainer/agent_end.h"
#include "tests/unit/trainer/fake_control.h"
#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/telemetry.h"
#include "worker/trainer/attempt.h"

namespace mantissa::trainer {

// What an agent has of an attempt once it has ended.
struct AttemptSeen {
  v1::AttemptEnded ended;
  std::vector<v1::AttemptStarted> started;
  std::vector<v1::Checkpoint> saved;
  std::vector<v1::Segment> segments;

  std::vector<v1::JobEvent> events() const { return EventsIn(segments); }
};

inline void Note(const std::vector<v1::TrainerReport>& reports, AttemptSeen& seen) {
  for (const v1::TrainerReport& report : reports) {
    if (report.has_started()) seen.started.push_back(report.started());
    if (report.has_checkpoint_saved()) seen.saved.push_back(report.checkpoint_saved().checkpoint());
  }
  for (v1::Segment& segment : SegmentsOf(reports)) seen.segments.push_back(std::move(segment));
}

// Reads what the trainer says until the attempt has ended; `heard` may answer.
template <class Heard>
AttemptSeen Follow(AgentEnd& agent, Heard heard) {
  std::vector<v1::TrainerReport> reports;
  AttemptSeen seen;
  while (std::optional<v1::TrainerReport> report = agent.Await()) {
    heard(*report);
    reports.push_back(*report);
    if (!report->has_ended()) continue;
    seen.ended = report->ended();
    break;
  }
  Note(reports, seen);
  ExpectContiguous(seen.segments, seen.ended.last_attempt_sequence());
  return seen;
}

// As the server sends it: `changes` is text merged into the whole spec.
inline v1::RunAttempt AttemptOf(const std::string& changes = "", std::int32_t attempt = 1) {
  v1::RunAttempt run;
  run.set_job_id(kJob);
  run.set_attempt(attempt);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "training { model { mlp { hidden: 4 } } data { train { synthetic { samples: 32 shape: 6 classes: 3 } } } "
      "precision { mode: FP32 } batch_size: 8 iterations: 20 }",
      run.mutable_spec()));
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(changes, run.mutable_spec())) << changes;
  return run;
}

// Of a language model in BF16 with two threads: as unlike the above as can be.
inline v1::RunAttempt LanguageAttempt(std::int32_t attempt) {
  v1::RunAttempt run = AttemptOf("", attempt);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "resources { cpu_threads: 2 } training { model { gpt { layers: 1 d_model: 8 heads: 2 context: 4 dropout: 0.5 } } "
      "data { train { synthetic { samples: 8 classes: 5 } } } precision { mode: BF16 } iterations: 3 }",
      run.mutable_spec()));
  return run;
}

struct AttemptConditions {
  FakeControl* control = nullptr;  // null: no stop
  std::int64_t memory_limit_bytes = 0;
  std::int32_t threads = 1;
  const process::Roots* roots = nullptr;                 // null: the folder's
  std::vector<v1::PrecisionSpec::Mode> precisions = {};  // that the device has; empty: all
  const MantissaRecorder* recorder = nullptr;
};

inline AttemptSeen RunIn(const RunFolder& folder, const v1::RunAttempt& run, const AttemptConditions& conditions = {}) {
  Conversation conversation;
  const process::FakeClock clock;
  FakeControl never;
  const AttemptEnvironment environment{.device = at::kCPU,
                                       .device_name = "cpu",
                                       .precisions = conditions.precisions,
                                       .threads = conditions.threads,
                                       .memory_limit_bytes = conditions.memory_limit_bytes,
                                       .roots = conditions.roots != nullptr ? *conditions.roots : folder.roots(),
                                       .checkpoint_storage_id = "the-storage",
                                       .version = "1.2.3",
                                       .channel = conversation.channel(),
                                       .control = conditions.control != nullptr ? *conditions.control : never,
                                       .clock = clock,
                                       .recorder = conditions.recorder};
  AttemptSeen seen;
  seen.ended = RunAttempt(run, environment);
  Note(conversation.agent().ReadAll(conversation.channel()), seen);
  EXPECT_EQ(seen.ended.job_id(), run.job_id());
  EXPECT_EQ(seen.ended.attempt(), run.attempt());
  ExpectContiguous(seen.segments, seen.ended.last_attempt_sequence());
  return seen;
}

}  // namespace mantissa::trainer
