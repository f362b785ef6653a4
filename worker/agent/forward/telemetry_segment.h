// Reading the segments that a trainer sends.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::agent {

inline constexpr int kMaxRowsPerBatch = 256;

// Attempt sequence of the last entry that a segment stands for.
std::int64_t LastAttemptSequence(const v1::Segment& segment);

// The value at `index` among those that are there, as a number; NaN where the column has none.
double ValueAt(const v1::Column& column, int index);

// INVALID_ARGUMENT for a segment that the server would refuse: it would come back for ever.
absl::Status CheckSegment(const v1::Segment& segment);

// The iteration and step of the newest record; 0 where a segment says none.
struct Progress {
  std::int32_t iteration = 0;
  std::int32_t step = 0;
};
Progress ProgressOf(const v1::Segment& segment);

// What is known of a segment that is dropped.
v1::GapSummary Summarize(const v1::Segment& segment);
// `earlier` then comes before `later`.
v1::GapSummary Merge(const v1::GapSummary& earlier, const v1::GapSummary& later);

// An entry in the place of those from `from` to `to`, both included.
v1::Segment MakeGap(std::int32_t attempt, std::int64_t from, std::int64_t to, const char* reason,
                    const v1::GapSummary& summary);

}  // namespace mantissa::agent
