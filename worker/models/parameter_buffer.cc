#include "worker/models/parameter_buffer.h"

#include <algorithm>
#include <cstring>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include "worker/amp/op.h"
#include "worker/amp/step_state.h"
#include "worker/kernels/cast_weights/stored_weight.h"

namespace mantissa::trainer {
namespace {

// Elements begin to begin + size, cut into chunks.
void AddChunks(std::int64_t begin, std::int64_t size, std::int64_t parameter, std::vector<Chunk>& chunks) {
  for (std::int64_t at = 0; at < size; at += ParameterBuffer::kChunkSize) {
    Chunk chunk;
    chunk.begin = begin + at;
    chunk.size = std::min(ParameterBuffer::kChunkSize, size - at);
    chunk.parameter = parameter;
    chunks.push_back(chunk);
  }
}

at::Tensor ChunkTable(const std::vector<Chunk>& chunks, at::Device device) {
  static_assert(sizeof(Chunk) == 4 * sizeof(std::int64_t));
  const at::Tensor table = at::empty({static_cast<std::int64_t>(chunks.size()), 4}, at::kLong);
  std::copy(chunks.begin(), chunks.end(), reinterpret_cast<Chunk*>(table.mutable_data_ptr<std::int64_t>()));
  return table.to(device);
}

// Elements with the padding behind them.
std::int64_t AlignedSize(const spec::Parameter& shape) {
  constexpr std::int64_t kAlignment = ParameterBuffer::kAlignment;
  return (shape.elements() + kAlignment - 1) / kAlignment * kAlignment;
}

// At least one, so that a model without parameters has a table too.
template <class T>
at::Tensor BytesOn(at::Device device, const T* values, std::size_t count) {
  const at::Tensor bytes =
      at::zeros({static_cast<std::int64_t>(std::max<std::size_t>(count, 1) * sizeof(T))}, at::kByte);
  if (count > 0) std::memcpy(bytes.mutable_data_ptr(), values, count * sizeof(T));
  return bytes.to(device);
}

}  // namespace

ParameterBuffer::ParameterBuffer(const std::vector<spec::Parameter>& shapes, at::Device device) {
  std::int64_t total = 0;
  for (const spec::Parameter& shape : shapes) {
    parameters_.push_back({shape, total, {}, {}});
    total += AlignedSize(shape);
  }
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(device);
  values_ = at::zeros({total}, options);
  gradients_ = at::zeros({total}, options);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    // Detached, so that a leaf is no view of another tensor in autograd's eyes.
    at::Tensor value = ViewOf(values_, i).detach();
    value.set_requires_grad(true);
    value.mutable_grad() = ViewOf(gradients_, i).detach();
    parameters_[i].value = value;
  }
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    AddChunks(parameters_[i].offset, parameters_[i].shape.elements(), static_cast<std::int64_t>(i), chunks);
  }
  chunks_ = ChunkTable(chunks, device);
  std::vector<Chunk> all;
  AddChunks(0, total, 0, all);
  zeroed_ = ChunkTable(all, device);
}

const Parameter& ParameterBuffer::Find(std::string_view name) const {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const Parameter& parameter) { return parameter.shape.path == name; });
  TORCH_INTERNAL_ASSERT(found != parameters_.end(), "no parameter ", name);
  return *found;
}

const at::Tensor& ParameterBuffer::at(std::string_view name) const { return Find(name).value; }

LinearParameters ParameterBuffer::LinearAt(const std::string& path) const {
  const Parameter& weight = Find(path + ".weight");
  const Parameter& bias = Find(path + ".bias");
  return {path, weight.value, bias.value, &weight, &bias};
}

LinearParameters ParameterBuffer::TiedLinear(const std::string& path, const std::string& weight) const {
  const Parameter& tied = Find(weight);
  return {path, tied.value, {}, &tied, nullptr};
}

void ParameterBuffer::StoreWeights(const WeightStorage& weights) {
  TORCH_INTERNAL_ASSERT(!stored_.defined(), "weights are stored once");
  std::vector<StoredWeight> places(parameters_.size());
  std::int64_t total = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!weights.parameters.at(i)) continue;
    places[i].shift = total - parameters_[i].offset;
    total += AlignedSize(parameters_[i].shape);
  }
  stored_ = at::zeros({total}, at::TensorOptions(weights.type).device(values_.device()));
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (places[i].shift == StoredWeight::kNowhere) continue;
    const Parameter& parameter = parameters_[i];
    parameters_[i].stored = stored_.narrow(0, parameter.offset + places[i].shift, parameter.shape.elements())
                                .view(parameter.shape.shape)
                                .detach();
  }
  places_ = BytesOn(values_.device(), places.data(), places.size());
  CastWeights();
  // Only there, and only of BF16, does a product add to the gradient itself (linear.cc).
  if (values_.is_cuda() && weights.type == at::kBFloat16) WriteFirstParts();
}

void ParameterBuffer::WriteFirstParts() {
  std::vector<Chunk> zeroed;
  std::int64_t begin = 0;  // of what lies between two such parameters, padding included
  const auto add_until = [&](std::int64_t end) { AddChunks(begin, end - begin, 0, zeroed); };
  for (const Parameter& parameter : parameters_) {
    // Not a bias, whose gradient is a sum.
    if (!parameter.stored.defined() || parameter.shape.shape.size() != 2) continue;
    if (parameter.shape.elements() < kChunkSize) continue;
    const at::Tensor& gradient = parameter.value.grad();
    first_parts_.emplace_back(gradient, &kernels::LetFirstPartBeWritten(gradient));
    add_until(parameter.offset);
    begin = parameter.offset + AlignedSize(parameter.shape);
  }
  add_until(gradients_.numel());
  zeroed_ = ChunkTable(zeroed, values_.device());
}

void ParameterBuffer::CastWeights() {
  if (!stored_.defined()) return;
  using at::Tensor;
  static const auto op =
      FindOp<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>("mantissa::cast_weights");
  op.call(values_, chunks_, places_, stored_);
}

void ParameterBuffer::ZeroGradients() {
  gradients_.zero_();
  AwaitFirstParts();
}

void ParameterBuffer::AwaitFirstParts() {
  for (const auto& [gradient, part] : first_parts_) part->awaited = true;
}

void ParameterBuffer::ZeroMissingParts() {
  for (const auto& [gradient, part] : first_parts_) {
    if (std::exchange(part->awaited, false)) gradient.zero_();
  }
}

at::Tensor ParameterBuffer::ViewOf(const at::Tensor& flat, std::size_t i) const {
  const Parameter& parameter = parameters_[i];
  return flat.narrow(0, parameter.offset, parameter.shape.elements()).view(parameter.shape.shape);
}

std::int64_t ParameterBuffer::count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.shape.elements();
  return count;
}

}  // namespace mantissa::trainer
