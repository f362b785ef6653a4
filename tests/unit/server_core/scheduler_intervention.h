// A control plane with one worker of two devices, whose first attempt asks for an intervention.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control_plane.h"

namespace mantissa::server {

using Precision = v1::PrecisionSpec;

class SchedulerIntervention : public testing::Test {
 protected:
  SchedulerIntervention() : worker_(plane_, "ws-1", {CpuDevice("cpu-0"), CpuDevice("cpu-1")}) {
    EXPECT_TRUE(worker_.Sync().ok());
  }

  static v1::JobSpec Spec(Precision::OnFailure on_failure, const std::vector<Precision::Mode>& fallback = {}) {
    v1::JobSpec spec = SyntheticSpec();
    Precision& precision = *spec.mutable_training()->mutable_precision();
    precision.set_mode(Precision::FP16);
    precision.set_on_failure(on_failure);
    for (const Precision::Mode mode : fallback) precision.add_fallback(mode);
    spec.mutable_retry()->set_max_attempts(1);  // any retry that is used shows
    return spec;
  }

  // Submits, and runs the first attempt.
  void Begin(Precision::OnFailure on_failure, const std::vector<Precision::Mode>& fallback = {}) {
    job_ = plane_.Submit(Spec(on_failure, fallback)).id();
    ref_ = worker_.RunFirst();
  }

  // The only attempt that is held asks for an intervention.
  void Trouble(int32_t first, int32_t last, v1::Reason::Code reason = v1::Reason::SCALE_AT_MINIMUM) {
    v1::AttemptReport& report = worker_.held.at(0);
    report.set_state(v1::Attempt::FAILED);
    report.set_reason(reason);
    report.set_message("the loss scale is at its floor");
    report.set_iteration(last);
    v1::Intervention& intervention = *report.mutable_intervention();
    intervention.mutable_iterations()->set_first(first);
    intervention.mutable_iterations()->set_last(last);
  }
  void ExpectTrouble(int32_t first, int32_t last) {
    Trouble(first, last);
    ASSERT_TRUE(worker_.Sync().ok());
  }
  // Reports the attempt that it was given as running; returns it.
  v1::AttemptRef RunNext() {
    EXPECT_EQ(worker_.held.size(), 1u);
    worker_.held.at(0).set_state(v1::Attempt::RUNNING);
    EXPECT_TRUE(worker_.Sync().ok());
    return worker_.held.at(0).ref();
  }
  // What a worker with nothing in hand is told to run.
  v1::Assignment Assignment() {
    for (const v1::DesiredAttempt& desired : worker_.answer().attempts()) {
      if (desired.has_assignment()) return desired.assignment();
    }
    ADD_FAILURE() << "nothing is assigned: " << worker_.answer().ShortDebugString();
    return {};
  }

  std::vector<std::string> Abandoned() {
    std::vector<std::string> names;
    const std::vector<v1::Checkpoint> checkpoints = plane_.store.ListCheckpoints(job_).value();
    for (const v1::Checkpoint& checkpoint : checkpoints) {
      if (checkpoint.abandoned()) names.push_back(checkpoint.name());
    }
    return names;
  }
  std::vector<std::string> Candidates() {
    std::vector<std::string> names;
    const v1::Assignment assignment = Assignment();
    for (const v1::Checkpoint& checkpoint : assignment.resume_from()) names.push_back(checkpoint.name());
    return names;
  }
  std::vector<v1::JobEvent> Interventions() {
    std::vector<v1::JobEvent> events;
    for (const v1::Segment& segment : plane_.Telemetry(job_)) {
      if (segment.event().has_intervention()) events.push_back(segment.event());
    }
    return events;
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

}  // namespace mantissa::server
