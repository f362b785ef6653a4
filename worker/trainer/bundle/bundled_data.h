// The samples of one window, in the place of the data they came from.
#pragma once

#include <vector>

#include "absl/status/statusor.h"

#include "worker/checkpoint/checkpoint_store.h"
#include "worker/data/dataset.h"
#include "worker/trainer/bundle/bundle.h"

namespace mantissa::trainer {

// As large and as shaped as the whole data was, but for what it holds: asked for anything but one of the bundle's
// micro-batches, Gather throws.
class BundledData final : public Dataset {
 public:
  // Checks every tensor's type and shape against the bundle; INVALID_ARGUMENT names the one that is wrong.
  static absl::StatusOr<BundledData> From(const Bundle& bundle, const LoadedFile& batches);

  std::int64_t size() const override { return samples_; }
  const DataShape& shape() const override { return shape_; }
  void Gather(std::span<const std::int64_t> indices, Batch& batch) const override;
  void MoveTo(at::Device device) override;

 private:
  BundledData(const Bundle& bundle)
      : samples_(bundle.samples), shape_(bundle.shape), micro_batches_(bundle.micro_batches) {}

  std::int64_t samples_;
  DataShape shape_;
  std::vector<std::vector<std::int64_t>> micro_batches_;
  std::vector<Batch> batches_;
};

}  // namespace mantissa::trainer
