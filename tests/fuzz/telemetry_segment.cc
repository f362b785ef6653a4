// Telemetry as a worker publishes it: what is refused is refused; what is taken can be cut, thinned and read.
#include "server/core/telemetry_segment.h"

#include <vector>

#include "mantissa/v1/trainer_frame.pb.h"
#include "server/core/thinning.h"
#include "tests/fuzz/hang_guard.h"

namespace mantissa::fuzz {
namespace {

void Read(v1::Segment segment, std::int64_t& sequence, server::Thinning& thinning) {
  if (!server::CheckSegment(segment).ok()) return;
  segment.set_first_sequence(sequence);
  sequence = server::LastSequence(segment) + 1;
  Require(server::LastAttemptSequence(segment) >= segment.first_attempt_sequence(), "a segment ends after it begins");
  if (segment.has_records() && segment.count() > 1) {
    const v1::Segment first = server::FirstRows(segment, 1);
    const v1::Segment rest = server::FromSequence(segment, server::LastSequence(first) + 1);
    Require(first.count() == 1 && rest.count() == segment.count() - 1, "a cut keeps every row");
    Require(server::CheckSegment(first).ok() && server::CheckSegment(rest).ok(), "both parts hold together");
  }
  if (segment.has_records()) {
    v1::JobProgress progress;
    server::TakeProgress(segment, progress);
  }
  thinning.Add(segment);
}

}  // namespace
}  // namespace mantissa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  v1::TelemetryBatch batch;
  if (!batch.ParseFromArray(data, static_cast<int>(size))) return 0;
  server::ThinningPlan plan;
  plan.records_per_row = 3;
  server::Thinning thinning(plan);
  std::int64_t sequence = 1;
  for (const v1::Segment& segment : batch.segments()) fuzz::Read(segment, sequence, thinning);
  thinning.Finish();
  thinning.Take();
  return 0;
}
