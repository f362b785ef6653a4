// Iteration records, row by row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// One record; a value that is absent was not sent or does not exist (no grad norm on a skipped iteration).
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
};

// Whether row `row`, from 0, has a value.
bool IsPresent(const v1::Column& column, std::size_t row);

// Never more rows than a column has bits or values for, whatever `count` says: a malformed segment costs no memory.
std::vector<IterationRow> DecodeRows(const v1::Segment& segment);

}  // namespace mantissa::cli
