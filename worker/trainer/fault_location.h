// Where an iteration stopped being finite.
#pragma once

#include <cstdint>
#include <string>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {

struct FaultLocation {
  enum class Stage : std::int32_t {  // the numbers of v1::OverflowLocation::Stage, which says what they are
    kInput = 1,
    kActivation = 2,
    kLoss = 3,
    kActivationGradient = 4,
    kWeightGradient = 5,
    kAccumulatedSum = 6,
    kNotReproduced = 7,
  };
  Stage stage = Stage::kNotReproduced;
  std::string module;     // `blocks.0.attention.qkv`; empty for input and loss
  std::string parameter;  // of a weight gradient or a sum
  std::int64_t micro_batch = 0;
  std::int64_t micro_batches = 1;
  std::int64_t inf_count = 0;
  std::int64_t nan_count = 0;
  std::int64_t element_count = 0;
};

// The cause, now that the place is known: infinities of both signs that met in a sum left only NaN in the gradients,
// and the place shows that it was an overflow.
inline SkipCause CauseAt(const FaultLocation& location, SkipCause counted) {
  return counted == SkipCause::kNanBackward && location.inf_count > 0 ? SkipCause::kOverflow : counted;
}

}  // namespace mantissa::trainer
