// Reading and cutting runs of telemetry entries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::server {

// INVALID_ARGUMENT for a segment that does not hold together: a column with more or fewer values than rows, an event
// that counts as three, a gap that ends before it begins, a name that is no name.
absl::Status CheckSegment(const v1::Segment& segment);

// Attempt sequence of the last entry; of a gap, the last one it covers.
int64_t LastAttemptSequence(const v1::Segment& segment);

// Without its first `rows` entries, 0 < rows < count: sequences move on, columns are cut. Of records only.
v1::Segment WithoutFirstRows(const v1::Segment& segment, int32_t rows);
// These alone. Of records only.
v1::Segment FirstRows(const v1::Segment& segment, int32_t rows);

// The part of a segment after `attempt_sequence`, which lies within it.
v1::Segment After(const v1::Segment& segment, int64_t attempt_sequence);

// Value of a standard column in row `row`; nothing where it is absent.
std::optional<double> ValueAt(const v1::RecordColumns& records, v1::Column::Standard column, int32_t row);

// What the newest row says, into `progress`. Returns the iteration of that row, 0 when it says none.
int32_t TakeProgress(const v1::Segment& records, v1::JobProgress& progress);

// As one more of the segments of a serialised WatchJobResponse; so a run of them is made without copying any.
void AppendEncoded(const v1::Segment& segment, std::string& bytes);

}  // namespace mantissa::server
