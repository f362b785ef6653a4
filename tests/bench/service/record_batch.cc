#include "record_batch.h"

#include <cmath>

namespace mantissa::bench {

v1::Segment RecordBatch(std::int64_t first, int count, std::int64_t begin_unix_nanos, double interval_nanos) {
  v1::Segment segment;
  segment.set_first_attempt_sequence(first);
  segment.set_count(count);
  auto column = [&](v1::Column::Standard standard) {
    v1::Column* const added = segment.mutable_records()->add_columns();
    added->set_standard(standard);
    return added;
  };
  auto integers = [&](v1::Column::Standard standard, auto value) {
    auto& values = *column(standard)->mutable_integers();
    for (int i = 0; i < count; ++i) values.add_values(value(i));
  };
  auto doubles = [&](v1::Column::Standard standard, auto value) {
    auto& values = *column(standard)->mutable_doubles();
    for (int i = 0; i < count; ++i) values.add_values(value(i));
  };
  integers(v1::Column::ITERATION, [&](int i) { return first + i; });
  integers(v1::Column::STEP, [&](int i) { return first + i; });
  integers(v1::Column::LINEAGE, [](int) { return 0; });
  integers(v1::Column::TIME_UNIX_NANOS,
           [&](int i) { return begin_unix_nanos + static_cast<std::int64_t>(i * interval_nanos); });
  doubles(v1::Column::LOSS, [&](int i) { return 1.0 / std::sqrt(static_cast<double>(first + i)); });
  auto& applied = *column(v1::Column::APPLIED)->mutable_bools();
  for (int i = 0; i < count; ++i) applied.add_values(true);
  doubles(v1::Column::GRAD_NORM, [&](int i) { return 3.0 / std::sqrt(static_cast<double>(first + i)); });
  doubles(v1::Column::LEARNING_RATE, [](int) { return 3e-3; });
  doubles(v1::Column::ITERATION_SECONDS, [&](int) { return interval_nanos * 1e-9; });
  doubles(v1::Column::SAMPLES_PER_SECOND, [&](int) { return 64e9 / interval_nanos; });
  integers(v1::Column::PHASE, [](int) { return v1::Phase::STEADY; });
  integers(v1::Column::MEMORY_BYTES, [](int) { return std::int64_t{1} << 30; });
  integers(v1::Column::PEAK_MEMORY_BYTES, [](int) { return std::int64_t{1} << 30; });
  doubles(v1::Column::LOSS_SCALE, [](int) { return 65536.0; });
  integers(v1::Column::GROWTH_TRACKER, [&](int i) { return (first + i) % 2000; });
  integers(v1::Column::HYSTERESIS_TRACKER, [](int) { return 1; });
  return segment;
}

}  // namespace mantissa::bench
