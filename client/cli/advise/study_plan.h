// The short studies that say something of a training job.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

// The label that ties the studies of one advice together; its value is the advice's id.
inline constexpr std::string_view kAdviceLabel = "advice";

struct StudyPlanOptions {
  std::int32_t iterations = 100;  // of each run; fewer where the training itself is shorter
  std::int32_t seeds = 3;         // of each precision that is compared
  std::string advice_id;          // value of the label
};

// Jobs to submit, each a study of what `job` trains, on the devices that it may run on, at its priority. `job` is
// valid, has its defaults, and is a training. A study that would say nothing of it is left out: tensor_core where no
// shape of a product is known from the spec. Pure.
std::vector<v1::JobSpec> PlanStudies(const v1::JobSpec& job, const StudyPlanOptions& options);

}  // namespace mantissa::cli
