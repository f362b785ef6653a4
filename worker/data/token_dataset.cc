#include "worker/data/token_dataset.h"

#include <cstddef>
#include <utility>

#include <ATen/ATen.h>

#include "worker/amp/op.h"
#include "worker/data/batch_memory.h"

namespace mantissa::trainer {
namespace {

template <typename Token>
void CopySequence(const Token* from, std::int64_t context, std::int64_t* input, std::int64_t* target) {
  for (std::int64_t t = 0; t < context; ++t) {
    input[t] = from[t];
    target[t] = from[t + 1];
  }
}

}  // namespace

TokenDataset::TokenDataset(at::Tensor tokens, std::int64_t vocabulary, std::int64_t context, std::int64_t stride)
    : tokens_(std::move(tokens)), sequences_(tokens_.unfold(0, context + 1, stride)), stride_(stride) {
  shape_.sample.classes = vocabulary;
  shape_.context = context;
}

void TokenDataset::Gather(std::span<const std::int64_t> indices, Batch& batch) const {
  if (!tokens_.is_cpu()) {
    const std::int64_t context = shape_.context;
    const at::Tensor rows = sequences_.index_select(0, IndicesOn(tokens_.device(), indices)).to(at::kLong);
    batch.input = rows.slice(1, 0, context).contiguous();
    batch.target = rows.slice(1, 1).flatten();
    batch.targets = batch.target.numel();
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

void TokenDataset::GatherOnHost(std::span<const std::int64_t> indices, Batch& batch) const {
  const auto count = static_cast<std::int64_t>(indices.size());
  const std::int64_t context = shape_.context;
  batch.targets = count * context;
  if (!batch.input.defined() || !batch.input.is_cpu() || batch.input.sizes() != at::IntArrayRef({count, context})) {
    batch.input = at::empty({count, context}, at::kLong);
    batch.target = at::empty({count * context}, at::kLong);
  }
  std::int64_t* input = batch.input.mutable_data_ptr<std::int64_t>();
  std::int64_t* target = batch.target.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const std::int64_t begin = indices[i] * stride_;
    const std::int64_t at = static_cast<std::int64_t>(i) * context;
    if (tokens_.scalar_type() == at::kByte) {
      CopySequence(tokens_.const_data_ptr<std::uint8_t>() + begin, context, input + at, target + at);
    } else {
      CopySequence(tokens_.const_data_ptr<std::int32_t>() + begin, context, input + at, target + at);
    }
  }
}

bool TokenDataset::GatherPlaces(const WindowPlaces& places, Batch& batch) const {
  if (tokens_.device() != deliver_to_) return false;
  static const auto op = FindOp<void(const at::Tensor&, const at::Tensor&, std::int64_t, const at::Tensor&,
                                     std::int64_t, const at::Tensor&, const at::Tensor&)>("mantissa::gather_tokens");
  const std::int64_t targets = places.count * shape_.context;
  const at::TensorOptions options = tokens_.options().dtype(at::kLong);
  batch = {at::empty({places.count, shape_.context}, options), at::empty({targets}, options), targets};
  op.call(places.order, places.window, places.begin, tokens_, stride_, batch.input, batch.target);
  return true;
}

void TokenDataset::MoveTo(at::Device device) {
  tokens_ = tokens_.to(device);
  deliver_to_ = tokens_.device();
  sequences_ = tokens_.unfold(0, shape_.context + 1, stride_);
}

}  // namespace mantissa::trainer
