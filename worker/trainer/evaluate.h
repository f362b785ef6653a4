// Loss and accuracy on data that is not trained on.
#pragma once

#include <cstdint>
#include <optional>

#include "mantissa/v1/telemetry.pb.h"
#include "worker/amp/precision_policy.h"
#include "worker/data/dataset.h"
#include "worker/models/model.h"
#include "worker/trainer/engine.h"

namespace mantissa::trainer {

struct EvaluationOptions {
  std::int64_t batch_size = 64;
  std::int64_t max_batches = 0;  // 0: all of the data
};

// In the data's own order, without dropout. Loss is the mean over all targets; classifiers get an accuracy, language
// models a perplexity. Nothing when a stop was requested in the middle. Changes no state of the run.
std::optional<v1::EvaluationResult> Evaluate(Model& model, const Dataset& data, const PrecisionPolicy& policy,
                                             const EvaluationOptions& options, Control& control);

}  // namespace mantissa::trainer
