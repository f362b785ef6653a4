// All parameters of a model in one flat FP32 buffer, their gradients in another of the same layout; and, where they are
// stored in a low format too, the weights that products read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "proto/spec/model_shape.h"
#include "worker/amp/precision_policy.h"
#include "worker/kernels/parameter_gradient.h"

namespace mantissa::trainer {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

// Views: `value` is a leaf that requires a gradient, and its .grad is the view into the gradients for good: backward
// adds into it, zeroing is one fill of the flat buffer.
struct Parameter {
  spec::Parameter shape;
  std::int64_t offset = 0;  // in elements, a multiple of ParameterBuffer::kAlignment
  at::Tensor value;
  at::Tensor stored;  // the value in a low format, where that is kept beside it; else undefined
};

// Of a linear layer or a norm.
struct LinearParameters {
  std::string path;  // `blocks.0.attention.qkv`
  at::Tensor weight;
  at::Tensor bias;
  const Parameter* weight_parameter = nullptr;  // the buffer's
  const Parameter* bias_parameter = nullptr;

  // As a product reads them, where that is kept; undefined: they are cast at use.
  StoredParameters stored() const {
    return {weight_parameter == nullptr ? at::Tensor() : weight_parameter->stored,
            bias_parameter == nullptr ? at::Tensor() : bias_parameter->stored};
  }
};

// Parameters in forward order, each at a 64-byte boundary; the padding between them is zero and stays zero. The
// tensors never move. Not thread-safe.
class ParameterBuffer {
 public:
  static constexpr std::int64_t kAlignment = 16;       // FP32 elements
  static constexpr std::int64_t kChunkSize = 1 << 16;  // elements; changing it changes the sums over gradients

  ParameterBuffer(const std::vector<spec::Parameter>& shapes, at::Device device);
  ParameterBuffer(const ParameterBuffer&) = delete;
  ParameterBuffer& operator=(const ParameterBuffer&) = delete;

  const std::vector<Parameter>& parameters() const { return parameters_; }
  // The value; a name that is not there is a broken invariant.
  const at::Tensor& at(std::string_view name) const;
  // `head` -> head.weight and head.bias.
  LinearParameters LinearAt(const std::string& path) const;
  // A layer at `path` without a bias whose weight is another module's.
  LinearParameters TiedLinear(const std::string& path, const std::string& weight) const;

  // FP32, flat, padding included.
  const at::Tensor& values() const { return values_; }
  const at::Tensor& gradients() const { return gradients_; }
  void ZeroGradients();

  // Of a GPU's large weights that are stored in BF16, the first part of an iteration's gradient is written and not
  // added (kernels::FirstPart). The rest, rows of Chunk on the device, has to be zero before the backward pass.
  const at::Tensor& zeroed() const { return zeroed_; }
  // The next part of each of those gradients is its first: what they hold means nothing from now on.
  void AwaitFirstParts();
  // After the backward pass: those that got none become zero.
  void ZeroMissingParts();

  // Keeps these weights, which products read, in a low format (at::kHalf or at::kBFloat16) as well; they are those of
  // the values now. Once.
  void StoreWeights(const WeightStorage& weights);
  // The stored weights from the values; for whoever writes values without an optimizer, which does it itself.
  void CastWeights();

  // int64 (C, 4) on the device: the rows are Chunk.
  const at::Tensor& chunks() const { return chunks_; }
  // A view of parameter i's part of a buffer with this layout (gradients, moments), in the parameter's shape.
  at::Tensor ViewOf(const at::Tensor& flat, std::size_t i) const;

  // The stored weights, flat; undefined without any.
  const at::Tensor& stored_weights() const { return stored_; }
  // Where they lie, StoredWeight of each parameter.
  const at::Tensor& stored_places() const { return places_; }

  // Without padding.
  std::int64_t count() const;

 private:
  const Parameter& Find(std::string_view name) const;
  void WriteFirstParts();

  at::Tensor values_;
  at::Tensor gradients_;
  at::Tensor chunks_;
  at::Tensor stored_;  // flat, in the low format; undefined: none
  at::Tensor places_;  // StoredWeight of each parameter
  at::Tensor zeroed_;
  std::vector<Parameter> parameters_;
  // Of the parameters whose gradients have one; their gradients keep them.
  std::vector<std::pair<at::Tensor, kernels::FirstPart*>> first_parts_;
};

}  // namespace mantissa::trainer
