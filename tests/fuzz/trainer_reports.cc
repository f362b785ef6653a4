// The telemetry of a trainer gone wrong: the agent reads it before it forwards it.
#include "mantissa/v1/trainer_frame.pb.h"
#include "tests/fuzz/hang_guard.h"
#include "worker/agent/forward/telemetry_segment.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  v1::TelemetryBatch batch;
  if (!batch.ParseFromArray(data, static_cast<int>(size))) return 0;
  v1::GapSummary summary;
  for (const v1::Segment& segment : batch.segments()) {
    if (!agent::CheckSegment(segment).ok()) continue;
    fuzz::Require(agent::LastAttemptSequence(segment) >= segment.first_attempt_sequence(),
                  "a segment ends after it begins");
    agent::ProgressOf(segment);
    summary = agent::Merge(summary, agent::Summarize(segment));
  }
  return 0;
}
