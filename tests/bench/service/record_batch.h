// Records as a trainer of FP16 sends them: all the columns of worker/trainer/report/record_columns.cc.
#pragma once

#include <cstdint>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::bench {

inline constexpr int kBatchRows = 256;  // of a full batch

// `count` of them from `first` on, the first made at `begin_unix_nanos` and each next `interval_nanos` later.
v1::Segment RecordBatch(std::int64_t first, int count, std::int64_t begin_unix_nanos, double interval_nanos);

}  // namespace mantissa::bench
