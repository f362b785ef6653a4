// How many samples go through the model at once: what fits the device, by the estimate and by trial.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/telemetry.pb.h"
#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"

namespace mantissa::trainer {

// Parts that a window is cut into for micro-batches of at most this many samples. The part's size, ceil(batch_size /
// parts), leads back to the same number of parts, so that a plan need only keep one of the two.
std::int32_t AccumulationFor(std::int32_t batch_size, std::int64_t micro_batch);
std::int64_t MicroBatchOf(std::int32_t batch_size, std::int32_t accumulation);

// What training takes with micro-batches of this many samples. `training` has its defaults resolved and is valid.
spec::ModelBytes EstimateAt(const v1::TrainingSpec& training, const spec::SampleShape& sample,
                            std::int64_t micro_batch);

v1::MemoryEstimate MemoryEstimateOf(const spec::ModelBytes& bytes, std::int64_t free_bytes);

// The largest micro-batch of this window that takes at most `budget` bytes; 0 when not even one sample does.
std::int64_t LargestMicroBatch(const v1::TrainingSpec& training, const spec::SampleShape& sample, std::int64_t budget);

// RESOURCE_EXHAUSTED when training with its accumulation takes more than is free; the error says what would fit.
// `device` is what errors call it.
absl::Status CheckMemory(const v1::TrainingSpec& training, const spec::SampleShape& sample, std::int64_t free_bytes,
                         const std::string& device);

// Runs one iteration with micro-batches of this many samples and undoes it: the device's peak in bytes, or nothing when
// its memory was used up.
using MicroBatchTrial = std::function<std::optional<std::int64_t>(std::int64_t micro_batch)>;

// The largest micro-batch that fits. With a trial it is the one to decide: the estimate may be off by a factor of two,
// so the search begins at twice what it says and halves. Without one a quarter of what is free is left for what the
// estimate does not know. RESOURCE_EXHAUSTED when not even one sample fits.
absl::StatusOr<v1::MicroBatchChosen> ChooseMicroBatch(const v1::TrainingSpec& training, const spec::SampleShape& sample,
                                                      std::int64_t free_bytes, const std::string& device,
                                                      const MicroBatchTrial& trial);

}  // namespace mantissa::trainer
