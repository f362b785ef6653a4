// Images and labels from IDX files.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

#include "mantissa/v1/training.pb.h"
#include "process/roots.h"
#include "worker/data/dataset.h"

namespace mantissa::trainer {

// Features are byte / full_scale; (N, F) and (N, T, F) files are read. Labels are checked against spec.classes, else
// against `classes` (the training set's, for data.eval), else the largest label sets their number. `field` is the
// path of `spec` in the job spec, such as `training.data.train.idx`; every error names the field beneath it.
absl::StatusOr<std::unique_ptr<Dataset>> LoadIdx(const v1::Idx& spec, std::optional<std::int64_t> classes,
                                                 const process::Roots& roots, std::string_view field,
                                                 std::int64_t max_bytes);

}  // namespace mantissa::trainer
