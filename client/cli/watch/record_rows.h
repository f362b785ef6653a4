// Iteration records, row by row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// The ends of what a thinned row stands for; without values in others. `maximum` is NaN where a record's value was.
struct ValueEnds {
  std::optional<double> minimum;
  std::optional<double> maximum;
};

// One record; a value that is absent was not sent or does not exist (no grad norm on a skipped iteration). A thinned
// row is the last of its records.
struct IterationRow {
  std::optional<std::int64_t> iteration;
  std::optional<std::int64_t> step;
  std::optional<std::int64_t> time_unix_nanos;
  std::optional<double> loss;
  std::optional<double> loss_scale;
  std::optional<bool> applied;
  std::optional<double> grad_norm;
  std::optional<double> learning_rate;
  std::optional<double> samples_per_second;
  std::optional<std::int64_t> phase;
  std::optional<std::int64_t> growth_tracker;
  std::optional<std::int64_t> lineage;

  // That the row stands for, the last of which it is: 1 unless it was thinned.
  std::int64_t records = 1;
  // Thinned rows only.
  std::optional<std::int64_t> skipped_records;
  ValueEnds loss_ends;
  ValueEnds loss_scale_ends;
  ValueEnds grad_norm_ends;
};

// Never more rows than a column has bits or values for, whatever `count` says: a malformed segment costs no memory.
std::vector<IterationRow> DecodeRows(const v1::Segment& segment);

}  // namespace mantissa::cli
