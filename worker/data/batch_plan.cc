#include "worker/data/batch_plan.h"

#include <algorithm>

#include "proto/spec/defaults.h"
#include "proto/spec/lineage.h"

namespace mantissa::trainer {

std::int64_t ShuffledIndex(std::uint64_t seed, std::int64_t epoch, std::int64_t samples, std::int64_t position) {
  const Permutation permutation(EpochKey(seed, epoch), samples);
  return static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(position)));
}

BatchPlan::BatchPlan(const BatchPlanOptions& options)
    : options_(options),
      windows_per_epoch_(spec::IterationsPerEpoch(options.samples, options.batch_size)),
      micro_batch_size_((options.batch_size - 1) / options.accumulation + 1) {}

std::int64_t BatchPlan::WindowAfter(std::int64_t iteration) const {
  return spec::WindowAfter(options_.lineage, iteration);
}

SampleOrder BatchPlan::order() const {
  return {options_.seed, options_.samples, options_.batch_size, windows_per_epoch_};
}

std::int64_t BatchPlan::WindowSize(std::int64_t window) const {
  const std::int64_t begin = window % windows_per_epoch_ * options_.batch_size;
  return std::min<std::int64_t>(options_.batch_size, options_.samples - begin);
}

std::int64_t BatchPlan::MicroBatches(std::int64_t window) const { return MicroBatchesOf(WindowSize(window)); }

void BatchPlan::MicroBatch(std::int64_t window, std::int64_t micro_batch, std::vector<std::int64_t>& indices) const {
  const std::int64_t begin = micro_batch * micro_batch_size_;
  const std::int64_t end = std::min(begin + micro_batch_size_, WindowSize(window));
  const std::int64_t first = window % windows_per_epoch_ * options_.batch_size;
  const Permutation permutation(EpochKey(options_.seed, window / windows_per_epoch_), options_.samples);
  indices.clear();
  for (std::int64_t i = begin; i < end; ++i) {
    indices.push_back(static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(first + i))));
  }
}

}  // namespace mantissa::trainer
