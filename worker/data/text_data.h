// Text as bytes, one token a byte.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

#include "mantissa/v1/training.pb.h"
#include "process/roots.h"
#include "worker/data/dataset.h"

namespace mantissa::trainer {

// The files' bytes one after another; of a folder its regular files in name order, without those whose name begins
// with a dot. Cut into sequences of `context` tokens, each with its successor. `field` is the path of `spec` in the job
// spec, such as `training.data.train.text`.
absl::StatusOr<std::unique_ptr<Dataset>> LoadText(const v1::Text& spec, std::int64_t context,
                                                  const process::Roots& roots, std::string_view field,
                                                  std::int64_t max_bytes);

}  // namespace mantissa::trainer
