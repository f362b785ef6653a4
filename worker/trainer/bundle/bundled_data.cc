#include "worker/trainer/bundle/bundled_data.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>

namespace mantissa::trainer {
namespace {

absl::StatusOr<at::Tensor> TensorIn(const LoadedFile& file, const std::string& name, TensorType type,
                                    const std::vector<std::int64_t>& shape) {
  const auto& tensors = file.tensors.tensors;
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& view) { return view.name == name; });
  if (found == tensors.end()) {
    return absl::InvalidArgumentError(absl::StrCat(kBatchFile, ": tensor ", name, " is missing"));
  }
  if (found->type != type || found->shape != shape) {
    return absl::InvalidArgumentError(
        absl::StrCat(kBatchFile, ": tensor ", name, " does not have the type and shape that ", kBundleFile, " says"));
  }
  const at::ScalarType scalar = type == TensorType::kF32 ? at::kFloat : at::kLong;
  // Of our own: a batch is written to in place.
  return at::from_blob(const_cast<char*>(found->bytes.data()), found->shape, at::dtype(scalar)).clone();
}

}  // namespace

absl::StatusOr<BundledData> BundledData::From(const Bundle& bundle, const LoadedFile& batches) {
  BundledData data(bundle);
  const bool tokens = bundle.shape.context > 0;
  for (std::size_t m = 0; m < bundle.micro_batches.size(); ++m) {
    const auto rows = static_cast<std::int64_t>(bundle.micro_batches[m].size());
    std::vector<std::int64_t> shape = bundle.shape.sample.features;
    if (tokens) shape = {bundle.shape.context};
    shape.insert(shape.begin(), rows);
    Batch batch;
    batch.targets = tokens ? rows * bundle.shape.context : rows;
    auto input = TensorIn(batches, InputName(m), tokens ? TensorType::kI64 : TensorType::kF32, shape);
    if (!input.ok()) return input.status();
    auto target = TensorIn(batches, TargetName(m), TensorType::kI64, {batch.targets});
    if (!target.ok()) return target.status();
    batch.input = *std::move(input);
    batch.target = *std::move(target);
    const std::int64_t classes = bundle.shape.sample.classes;
    const auto in_range = [&](const at::Tensor& numbers) {
      return (numbers.lt(0) | numbers.ge(classes)).any().item<bool>() == false;
    };
    if (!in_range(batch.target) || (tokens && !in_range(batch.input))) {
      return absl::InvalidArgumentError(
          absl::StrCat(kBatchFile, ": micro-batch ", m, " has numbers outside of [0, ", classes, ")"));
    }
    data.batches_.push_back(std::move(batch));
  }
  return data;
}

void BundledData::Gather(std::span<const std::int64_t> indices, Batch& batch) const {
  for (std::size_t m = 0; m < micro_batches_.size(); ++m) {
    if (!std::equal(indices.begin(), indices.end(), micro_batches_[m].begin(), micro_batches_[m].end())) continue;
    batch = {batches_[m].input.clone(), batches_[m].target.clone(), batches_[m].targets};
    return;
  }
  TORCH_CHECK(false, "the bundle does not hold the samples that its spec asks for: it was made by another version");
}

void BundledData::MoveTo(at::Device device) {
  for (Batch& batch : batches_) {
    batch.input = batch.input.to(device);
    batch.target = batch.target.to(device);
  }
}

}  // namespace mantissa::trainer
