// Cross-entropy of class indices: its autograd formula, shared by every device's kernels.
//
// forward: sum over rows of log(sum(exp(logits))) - logits[target], in FP32 whatever the logits' type; rows whose
//          target is kIgnoredTarget count nothing
// backward: (softmax(logits) - one-hot(target)) x incoming gradient, computed in FP32 from the logits and one number a
//          row, rounded once to the logits' type: no (N, C) tensor beside the result, and no small gradient lost before
//          the loss scale has been applied
#pragma once

#include <cstdint>

namespace mantissa::trainer::kernels {

inline constexpr std::int64_t kIgnoredTarget = -100;

}  // namespace mantissa::trainer::kernels
