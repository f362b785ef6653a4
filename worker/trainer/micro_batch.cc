#include "worker/trainer/micro_batch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "worker/data/data_size.h"

namespace mantissa::trainer {
namespace {

std::string PartsText(const spec::ModelBytes& bytes) {
  return absl::StrCat(BytesText(bytes.Total()), " (parameters ", BytesText(bytes.parameters), ", gradients ",
                      BytesText(bytes.gradients), ", optimizer state ", BytesText(bytes.optimizer_state), ", casts ",
                      BytesText(bytes.casts), ", activations ", BytesText(bytes.activations), ")");
}

absl::Status NothingFits(const spec::ModelBytes& of_one, std::int64_t free_bytes, const std::string& device) {
  return absl::ResourceExhaustedError(
      absl::StrCat("training.model: training it takes about ", PartsText(of_one),
                   " with a micro-batch of one sample, and ", BytesText(free_bytes), " are free on ", device,
                   ": not even one sample fits; use a smaller model, or a device with more memory"));
}

}  // namespace

std::int32_t AccumulationFor(std::int32_t batch_size, std::int64_t micro_batch) {
  return static_cast<std::int32_t>((batch_size - 1) / micro_batch + 1);
}

std::int64_t MicroBatchOf(std::int32_t batch_size, std::int32_t accumulation) {
  return (batch_size - 1) / accumulation + 1;
}

spec::ModelBytes EstimateAt(const v1::TrainingSpec& training, const spec::SampleShape& sample,
                            std::int64_t micro_batch) {
  v1::TrainingSpec one_part = training;
  one_part.set_batch_size(static_cast<std::int32_t>(micro_batch));
  one_part.set_accumulation(1);
  return spec::EstimateModelBytes(one_part, sample);
}

v1::MemoryEstimate MemoryEstimateOf(const spec::ModelBytes& bytes, std::int64_t free_bytes) {
  v1::MemoryEstimate memory;
  memory.set_parameters(bytes.parameters);
  memory.set_gradients(bytes.gradients);
  memory.set_optimizer_state(bytes.optimizer_state);
  memory.set_casts(bytes.casts);
  memory.set_activations(bytes.activations);
  memory.set_total(bytes.Total());
  memory.set_free(free_bytes);
  return memory;
}

std::int64_t LargestMicroBatch(const v1::TrainingSpec& training, const spec::SampleShape& sample, std::int64_t budget) {
  // The parts that follow from the micro-batch are in proportion to it.
  const spec::ModelBytes of_one = EstimateAt(training, sample, 1);
  if (of_one.Total() > budget) return 0;
  const std::int64_t left = budget - (of_one.Total() - of_one.activations);
  const std::int64_t most = of_one.activations > 0 ? left / of_one.activations : training.batch_size();
  const std::int64_t within = std::min<std::int64_t>(most, training.batch_size());
  return MicroBatchOf(training.batch_size(), AccumulationFor(training.batch_size(), within));
}

absl::Status CheckMemory(const v1::TrainingSpec& training, const spec::SampleShape& sample, std::int64_t free_bytes,
                         const std::string& device) {
  const std::int64_t asked = MicroBatchOf(training.batch_size(), training.accumulation());
  const spec::ModelBytes bytes = EstimateAt(training, sample, asked);
  if (bytes.Total() <= free_bytes) return absl::OkStatus();
  const std::int64_t largest = LargestMicroBatch(training, sample, free_bytes);
  if (largest == 0) return NothingFits(EstimateAt(training, sample, 1), free_bytes, device);
  return absl::ResourceExhaustedError(absl::StrCat(
      "training.model: training it takes about ", PartsText(bytes), " with micro-batches of ", asked, " samples, and ",
      BytesText(free_bytes), " are free on ", device, ": at most ", largest, largest == 1 ? " sample" : " samples",
      " would fit; set accumulation to ", AccumulationFor(training.batch_size(), largest),
      ", leave the choice to micro_batch: AUTO, or use a device with more memory"));
}

absl::StatusOr<v1::MicroBatchChosen> ChooseMicroBatch(const v1::TrainingSpec& training, const spec::SampleShape& sample,
                                                      std::int64_t free_bytes, const std::string& device,
                                                      const MicroBatchTrial& trial) {
  const std::int64_t by_estimate = LargestMicroBatch(training, sample, free_bytes);
  if (by_estimate == 0) return NothingFits(EstimateAt(training, sample, 1), free_bytes, device);
  const auto canonical = [&](std::int64_t micro_batch) {
    return MicroBatchOf(training.batch_size(), AccumulationFor(training.batch_size(), micro_batch));
  };
  v1::MicroBatchChosen chosen;
  chosen.set_free_bytes(free_bytes);
  std::int64_t micro_batch = 0;
  if (trial) {
    micro_batch = canonical(std::min<std::int64_t>(2 * by_estimate, training.batch_size()));
    std::optional<std::int64_t> peak = trial(micro_batch);
    for (; !peak; peak = trial(micro_batch)) {
      chosen.add_refused(static_cast<std::int32_t>(micro_batch));
      if (micro_batch == 1) return NothingFits(EstimateAt(training, sample, 1), free_bytes, device);
      micro_batch = canonical(micro_batch / 2);
    }
    chosen.set_measured_peak_bytes(*peak);
  } else {
    // Of one sample that fits without the reserve it is better to try than to refuse.
    micro_batch = std::max<std::int64_t>(1, LargestMicroBatch(training, sample, free_bytes - free_bytes / 4));
  }
  chosen.set_micro_batch(static_cast<std::int32_t>(micro_batch));
  chosen.set_accumulation(AccumulationFor(training.batch_size(), micro_batch));
  chosen.set_estimated_bytes(EstimateAt(training, sample, micro_batch).Total());
  return chosen;
}

}  // namespace mantissa::trainer
