// Tokens in files as llm.c writes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

#include "mantissa/v1/training.pb.h"
#include "process/roots.h"
#include "worker/data/dataset.h"

namespace mantissa::trainer {

// The files' tokens one after another, cut into sequences of `context` tokens, each with its successor. `field` is the
// path of `spec` in the job spec, such as `training.data.train.tokens`.
absl::StatusOr<std::unique_ptr<Dataset>> LoadTokens(const v1::Tokens& spec, std::int64_t context,
                                                    const process::Roots& roots, std::string_view field,
                                                    std::int64_t max_bytes);

}  // namespace mantissa::trainer
