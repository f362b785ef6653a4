// Seeded data that needs no file, with something in it to learn.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

#include "mantissa/v1/training.pb.h"
#include "worker/data/dataset.h"

namespace mantissa::trainer {

// Features from a unit normal; the label is the largest output of a random linear teacher. The teacher depends on shape
// and number of classes only, so data sets of different seeds pose the same task.
// `spec` has its defaults resolved and is valid; RESOURCE_EXHAUSTED when it needs more than `max_bytes`.
absl::StatusOr<std::unique_ptr<Dataset>> MakeSyntheticFeatures(const v1::Synthetic& spec, std::string_view field,
                                                               std::int64_t max_bytes);

// Sequences of `context` tokens, each with its successor, from one random first-order Markov chain: every token has
// four successors, of probability 1/2, 1/4, 1/8 and 1/8. The chain depends on the number of tokens only.
absl::StatusOr<std::unique_ptr<Dataset>> MakeSyntheticTokens(const v1::Synthetic& spec, std::int64_t context,
                                                             std::string_view field, std::int64_t max_bytes);

}  // namespace mantissa::trainer
