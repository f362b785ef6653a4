// What an iteration tells the host, who polls for it: a slot of a ring in memory that both of them see.
//
// Everything else of a slot is written first, then `sequence`, so that whoever reads the sequence it waits for
// (acquiring) finds the rest complete. A slot is written again only after the host has said, by starting another
// iteration, that it is done with it.
#pragma once

#include <cstdint>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {

struct StepRecord {
  std::uint64_t sequence = 0;     // of the record, from 1; 0: never written
  std::int64_t device_nanos = 0;  // the device's clock when it was written; 0: it has none
  StepState state;                // after update_scale
};

// Of a skipped iteration, GradientStats of each parameter follow at this byte.
inline constexpr std::int64_t kRecordStats = 128;
static_assert(sizeof(StepRecord) <= kRecordStats);

// Bytes of a slot: whole lines of 128.
inline std::int64_t RecordBytes(std::int64_t parameter_count) {
  const std::int64_t stats = parameter_count * static_cast<std::int64_t>(sizeof(GradientStats));
  return kRecordStats + (stats + 127) / 128 * 128;
}

}  // namespace mantissa::trainer
