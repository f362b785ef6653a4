#include "worker/models/parameter_buffer.h"

#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {
namespace {

at::Tensor ChunkTable(const std::vector<Parameter>& parameters, at::Device device) {
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t size = parameters[i].shape.elements();
    for (std::int64_t at = 0; at < size; at += ParameterBuffer::kChunkSize) {
      Chunk chunk;
      chunk.begin = parameters[i].offset + at;
      chunk.size = std::min(ParameterBuffer::kChunkSize, size - at);
      chunk.parameter = static_cast<std::int64_t>(i);
      chunk.decayed = spec::IsDecayed(parameters[i].shape.kind) ? 1 : 0;
      chunks.push_back(chunk);
    }
  }
  static_assert(sizeof(Chunk) == 4 * sizeof(std::int64_t));
  const at::Tensor table = at::empty({static_cast<std::int64_t>(chunks.size()), 4}, at::kLong);
  std::copy(chunks.begin(), chunks.end(), reinterpret_cast<Chunk*>(table.mutable_data_ptr<std::int64_t>()));
  return table.to(device);
}

}  // namespace

ParameterBuffer::ParameterBuffer(const std::vector<spec::Parameter>& shapes, at::Device device) {
  std::int64_t total = 0;
  for (const spec::Parameter& shape : shapes) {
    parameters_.push_back({shape, total, {}});
    total += (shape.elements() + kAlignment - 1) / kAlignment * kAlignment;
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
  chunks_ = ChunkTable(parameters_, device);
}

const at::Tensor& ParameterBuffer::at(std::string_view name) const {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const Parameter& parameter) { return parameter.shape.path == name; });
  TORCH_INTERNAL_ASSERT(found != parameters_.end(), "no parameter ", name);
  return found->value;
}

LinearParameters ParameterBuffer::LinearAt(const std::string& path) const {
  return {path, at(path + ".weight"), at(path + ".bias")};
}

void ParameterBuffer::ZeroGradients() { gradients_.zero_(); }

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
