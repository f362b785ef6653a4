// Telemetry as trainers send it, built by hand.
#pragma once

#include <cstdint>
#include <memory>

#include "mantissa/v1/telemetry.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"

namespace mantissa::agent {

// Records `first` to `last`, one a millisecond, iteration i with a loss of i; every third was skipped.
inline v1::Segment ExportRecords(int first, int last) {
  v1::Segment segment;
  segment.set_attempt(1);
  segment.set_first_attempt_sequence(first);
  segment.set_count(last - first + 1);
  v1::RecordColumns& records = *segment.mutable_records();
  const auto column = [&records](v1::Column::Standard standard) {
    v1::Column* const added = records.add_columns();
    added->set_standard(standard);
    return added;
  };
  v1::Column* const iterations = column(v1::Column::ITERATION);
  v1::Column* const times = column(v1::Column::TIME_UNIX_NANOS);
  v1::Column* const losses = column(v1::Column::LOSS);
  v1::Column* const applied = column(v1::Column::APPLIED);
  v1::Column* const norms = column(v1::Column::GRAD_NORM);
  norms->set_present(std::string(static_cast<std::size_t>(segment.count() + 7) / 8, '\0'));
  for (int i = first; i <= last; ++i) {
    iterations->mutable_integers()->add_values(i);
    times->mutable_integers()->add_values(std::int64_t{i} * 1'000'000);
    losses->mutable_doubles()->add_values(i);
    applied->mutable_bools()->add_values(i % 3 != 0);
    if (i % 3 == 0) continue;
    const auto row = static_cast<std::size_t>(i - first);
    norms->mutable_doubles()->add_values(0.5);
    (*norms->mutable_present())[row / 8] = static_cast<char>((*norms->mutable_present())[row / 8] | (1 << (row % 8)));
  }
  return segment;
}

inline std::shared_ptr<const v1::TelemetryBatch> ExportBatch(int first, int last) {
  auto batch = std::make_shared<v1::TelemetryBatch>();
  *batch->add_segments() = ExportRecords(first, last);
  return batch;
}

}  // namespace mantissa::agent
