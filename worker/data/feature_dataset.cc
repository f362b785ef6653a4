#include "worker/data/feature_dataset.h"

#include <cstddef>
#include <cstring>
#include <utility>

#include <ATen/ATen.h>

#include "worker/amp/op.h"
#include "worker/data/batch_memory.h"

namespace mantissa::trainer {

FeatureDataset::FeatureDataset(at::Tensor features, at::Tensor labels, std::int64_t classes)
    : features_(std::move(features)), labels_(std::move(labels)) {
  shape_.sample.features = features_.sizes().slice(1).vec();
  shape_.sample.classes = classes;
}

void FeatureDataset::Gather(std::span<const std::int64_t> indices, Batch& batch) const {
  if (!features_.is_cpu()) {
    const at::Tensor rows = IndicesOn(features_.device(), indices);
    batch.input = features_.index_select(0, rows);
    batch.target = labels_.index_select(0, rows);
    batch.targets = rows.size(0);
    return;
  }
  if (!deliver_to_.is_cpu()) {
    Batch host;
    GatherOnHost(indices, host);
    Deliver(host, deliver_to_, batch);
    return;
  }
  GatherOnHost(indices, batch);
}

void FeatureDataset::GatherOnHost(std::span<const std::int64_t> indices, Batch& batch) const {
  const auto count = static_cast<std::int64_t>(indices.size());
  batch.targets = count;
  if (!Fits(batch.input, features_, count)) {
    auto sizes = features_.sizes().vec();
    sizes[0] = count;
    batch.input = at::empty(sizes, features_.options());
  }
  if (!Fits(batch.target, labels_, count)) batch.target = at::empty({count}, labels_.options());
  const std::size_t width = static_cast<std::size_t>(features_.stride(0));
  const float* features = features_.const_data_ptr<float>();
  const std::int64_t* labels = labels_.const_data_ptr<std::int64_t>();
  float* input = batch.input.mutable_data_ptr<float>();
  std::int64_t* target = batch.target.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const auto row = static_cast<std::size_t>(indices[i]);
    std::memcpy(input + i * width, features + row * width, width * sizeof(float));
    target[i] = labels[row];
  }
}

bool FeatureDataset::GatherPlaces(const WindowPlaces& places, Batch& batch) const {
  if (features_.device() != deliver_to_) return false;
  static const auto op =
      FindOp<void(const at::Tensor&, const at::Tensor&, std::int64_t, const at::Tensor&, const at::Tensor&,
                  const at::Tensor&, const at::Tensor&)>("mantissa::gather_features");
  auto sizes = features_.sizes().vec();
  sizes[0] = places.count;
  batch = {at::empty(sizes, features_.options()), at::empty({places.count}, labels_.options()), places.count};
  op.call(places.order, places.window, places.begin, features_, labels_, batch.input, batch.target);
  return true;
}

void FeatureDataset::MoveTo(at::Device device) {
  features_ = features_.to(device);
  labels_ = labels_.to(device);
  deliver_to_ = features_.device();
}

std::int64_t FeatureDataset::bytes() const { return static_cast<std::int64_t>(features_.nbytes() + labels_.nbytes()); }

}  // namespace mantissa::trainer
