// Reading and cutting runs of telemetry entries.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::server {

// INVALID_ARGUMENT for a segment that does not hold together: a column with more or fewer values than rows, an event
// that counts as three, a gap that ends before it begins, a name that is no name.
absl::Status CheckSegment(const v1::Segment& segment);

// Of a segment that the server has numbered: the last sequence that it stands for.
int64_t LastSequence(const v1::Segment& segment);

// Larger than that of any entry that is taken.
inline constexpr int64_t kMaxAttemptSequence = std::numeric_limits<int64_t>::max();

// Attempt sequence of the last entry; of a gap, the last one it covers, and kMaxAttemptSequence where its end is not
// known.
int64_t LastAttemptSequence(const v1::Segment& segment);

// Of a numbered segment of records, thinned or not: so many of its first rows begin at `sequence` or before it.
int32_t RowsThrough(const v1::Segment& segment, int64_t sequence);
// The part of a numbered segment of records from `sequence` on, which lies within it: sequences move on, columns are
// cut. A thinned row that begins before it stands for those of its records that are left, though its extremes are those
// of all.
v1::Segment FromSequence(const v1::Segment& segment, int64_t sequence);
// These alone, of a numbered segment of records; 0 < rows.
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
