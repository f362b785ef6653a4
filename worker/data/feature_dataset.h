// Rows of features with a label each: what a classifier reads.
#pragma once

#include <cstdint>
#include <span>

#include "worker/data/dataset.h"

namespace mantissa::trainer {

class FeatureDataset final : public Dataset {
 public:
  // `features` (N, ...) FP32 and `labels` (N) int64, contiguous, on CPU; N is at least 1 and labels are in
  // [0, classes).
  FeatureDataset(at::Tensor features, at::Tensor labels, std::int64_t classes);

  std::int64_t size() const override { return labels_.size(0); }
  const DataShape& shape() const override { return shape_; }
  void Gather(std::span<const std::int64_t> indices, Batch& batch) const override;
  bool GatherPlaces(const WindowPlaces& places, Batch& batch) const override;
  void MoveTo(at::Device device) override;
  void DeliverTo(at::Device device) override { deliver_to_ = device; }
  std::int64_t bytes() const override;

 private:
  void GatherOnHost(std::span<const std::int64_t> indices, Batch& batch) const;

  at::Tensor features_;
  at::Tensor labels_;
  at::Device deliver_to_ = at::kCPU;
  DataShape shape_;
};

}  // namespace mantissa::trainer
