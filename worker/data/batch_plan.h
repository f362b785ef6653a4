// Which samples each window of a run holds: a pure function of the seed and the window's number. There is no generator
// whose state a checkpoint would have to keep, so a resumed, replayed or skipped window shifts nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "worker/data/sample_order.h"

namespace mantissa::trainer {

// The place that sample `position` of pass `epoch` has in the data: for every (seed, epoch) a permutation of
// [0, samples). `samples` is at least 1, `position` in range.
std::int64_t ShuffledIndex(std::uint64_t seed, std::int64_t epoch, std::int64_t samples, std::int64_t position);

struct BatchPlanOptions {
  std::int64_t samples = 1;       // at least 1
  std::int32_t batch_size = 64;   // samples in a window, at least 1
  std::int32_t accumulation = 1;  // micro-batches of a whole window, 1 to batch_size
  std::uint64_t seed = 0;
  v1::Lineage lineage = {};  // the windows that are left out
};

// Windows are counted from 0 over the whole run; each pass over the data is cut into windows of batch_size, a last one
// with fewer is a window too. A window is cut into micro-batches of ceil(batch_size / accumulation), so a short one has
// fewer of them. Immutable; thread-safe.
class BatchPlan {
 public:
  explicit BatchPlan(const BatchPlanOptions& options);

  std::int64_t windows_per_epoch() const { return windows_per_epoch_; }

  // The window of the next iteration when `iteration` windows have been consumed: that number itself, but for windows
  // that a rollback left out. Iterations go on to count what was consumed.
  std::int64_t WindowAfter(std::int64_t iteration) const;

  std::int64_t WindowSize(std::int64_t window) const;
  std::int64_t MicroBatches(std::int64_t window) const;
  // Of a window with so many samples.
  std::int64_t MicroBatchesOf(std::int64_t window_size) const { return (window_size - 1) / micro_batch_size_ + 1; }
  // The largest micro-batch there is.
  std::int64_t micro_batch_size() const { return micro_batch_size_; }

  // The same for ops that find a window's samples by themselves.
  SampleOrder order() const;
  const v1::Lineage& lineage() const { return options_.lineage; }

  // Replaces `indices` by the samples of one micro-batch, in [0, MicroBatches(window)).
  void MicroBatch(std::int64_t window, std::int64_t micro_batch, std::vector<std::int64_t>& indices) const;

 private:
  const BatchPlanOptions options_;
  const std::int64_t windows_per_epoch_;
  const std::int64_t micro_batch_size_;
};

}  // namespace mantissa::trainer
