// A report as a picture, where one says more than its tables. Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "client/cli/plot/picture.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/report.pb.h"

namespace mantissa::cli {

// Panels below each other over one axis, which have the same scale where they are to be compared: losses of
// precision_comparison, a panel each precision, from the least to the greatest of its seeds; gradients of
// gradient_analysis by powers of two, all of them and the parameters with the most; loss scales of scaler_study, a
// panel each preset. FAILED_PRECONDITION, saying so, for other studies and where there is nothing to draw.
absl::StatusOr<Picture> PictureOf(const v1::Job& job, const v1::Report& report);

}  // namespace mantissa::cli
