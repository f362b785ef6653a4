// Our ops as functions, called as the trainer calls them: through LibTorch's dispatcher.
#pragma once

#include <optional>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>

#include "worker/amp/op.h"
#include "worker/amp/range_counts.h"
#include "worker/amp/step_state.h"

namespace mantissa::trainer {

inline at::Tensor OpLinear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::ScalarType type,
                           std::int64_t activation = 0, const at::Tensor& stored = {},
                           const at::Tensor& stored_bias = {}) {
  const auto optional = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional(tensor) : std::nullopt;
  };
  return FindOp<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                           const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, at::ScalarType,
                           std::int64_t)>("mantissa::linear")
      .call(x, weight, optional(stored), optional(bias), optional(stored_bias), type, activation);
}

inline at::Tensor OpCrossEntropy(const at::Tensor& logits, const at::Tensor& targets) {
  return FindOp<at::Tensor(const at::Tensor&, const at::Tensor&)>("mantissa::cross_entropy").call(logits, targets);
}

inline void OpFillInitial(const at::Tensor& values, std::int64_t seed, std::int64_t parameter, double width,
                          bool normal) {
  FindOp<void(at::Tensor, std::int64_t, std::int64_t, double, bool)>("mantissa::fill_initial_")
      .call(values, seed, parameter, width, normal);
}

inline std::tuple<at::Tensor, at::Tensor> OpCrossEntropyAndGradient(const at::Tensor& logits, const at::Tensor& targets,
                                                                    const at::Tensor& incoming, bool overwrite) {
  return FindOp<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool)>(
             "mantissa::cross_entropy_and_gradient")
      .call(logits, targets, incoming, overwrite);
}

inline at::Tensor OpAttention(const at::Tensor& qkv, std::int64_t heads, bool causal) {
  return FindOp<at::Tensor(const at::Tensor&, std::int64_t, bool)>("mantissa::attention").call(qkv, heads, causal);
}

inline void OpCountRange(const at::Tensor& values, const RangeLimits& limits, const at::Tensor& counts) {
  FindOp<void(const at::Tensor&, double, double, const at::Tensor&)>("mantissa::count_range")
      .call(values, limits.flushed_to, limits.near_max, counts);
}

inline RangeCounts OpCountRange(const at::Tensor& values, const RangeLimits& limits) {
  const at::Tensor counts = at::zeros({4}, values.options().dtype(at::kLong));
  OpCountRange(values, limits, counts);
  const at::Tensor on_host = counts.cpu();
  return *reinterpret_cast<const RangeCounts*>(on_host.const_data_ptr<std::int64_t>());
}

struct DropoutKey {
  std::int64_t seed = 1;
  std::int64_t iteration = 2;
  std::int64_t micro_batch = 3;
  std::int64_t site = 4;
};

inline at::Tensor OpDropout(const at::Tensor& x, double probability, const DropoutKey& key) {
  return FindOp<at::Tensor(const at::Tensor&, double, std::int64_t, std::int64_t, std::int64_t, std::int64_t)>(
             "mantissa::dropout")
      .call(x, probability, key.seed, key.iteration, key.micro_batch, key.site);
}

// The iteration is in a tensor, and not in the key.
inline at::Tensor OpDropoutOfWindow(const at::Tensor& x, double probability, const DropoutKey& key,
                                    const at::Tensor& window) {
  return FindOp<at::Tensor(const at::Tensor&, double, std::int64_t, const at::Tensor&, std::int64_t, std::int64_t)>(
             "mantissa::dropout_of_window")
      .call(x, probability, key.seed, window, key.micro_batch, key.site);
}

struct ResidualNormCall {
  at::Tensor x;
  at::Tensor branch;  // undefined: none
  at::Tensor weight;
  at::Tensor bias;
  double probability = 0;
  DropoutKey key = {};
  at::Tensor window = {};
  bool norm = true;
  std::optional<at::ScalarType> low = std::nullopt;
};

// -> (sum, norm, low).
inline std::tuple<at::Tensor, at::Tensor, at::Tensor> OpResidualNorm(const ResidualNormCall& call) {
  using Optional = std::optional<at::Tensor>;
  const auto optional = [](const at::Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; };
  return FindOp<std::tuple<at::Tensor, at::Tensor, at::Tensor>(
      const at::Tensor&, const Optional&, double, std::int64_t, std::int64_t, const Optional&, std::int64_t,
      std::int64_t, const at::Tensor&, const at::Tensor&, double, bool, std::optional<at::ScalarType>)>(
             "mantissa::residual_norm")
      .call(call.x, optional(call.branch), call.probability, call.key.seed, call.key.iteration, optional(call.window),
            call.key.micro_batch, call.key.site, call.weight, call.bias, 1e-5, call.norm, call.low);
}

template <class T>
at::Tensor BytesOf(const T& value) {
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(sizeof(T))}, at::kByte);
  std::memcpy(bytes.data_ptr(), &value, sizeof(T));
  return bytes;
}

template <class T>
T StructOf(const at::Tensor& bytes, std::int64_t i = 0) {
  T value;
  const at::Tensor host = bytes.cpu();
  std::memcpy(&value, static_cast<const char*>(host.const_data_ptr()) + i * static_cast<std::int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}

inline at::Tensor ChunkTensor(const std::vector<Chunk>& chunks) {
  at::Tensor table = at::empty({static_cast<std::int64_t>(chunks.size()), 4}, at::kLong);
  std::copy(chunks.begin(), chunks.end(), static_cast<Chunk*>(table.data_ptr()));
  return table;
}

// What the optimizers write beside the parameters.
struct LowCopies {
  std::optional<at::Tensor> places = std::nullopt;
  std::optional<at::Tensor> weights = std::nullopt;
};

// The buffers of an optimizer, and what it does with them.
struct UpdateCall {
  at::Tensor parameters, gradients, first, second;  // the second is Adam's, the first undefined without a momentum
  at::Tensor chunks, rules, settings, state;
  LowCopies low = {};
};

inline void OpAdam(const UpdateCall& call) {
  using at::Tensor;
  using Optional = std::optional<Tensor>;
  FindOp<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
              const Tensor&, const Optional&, const Optional&)>("mantissa::adam")
      .call(call.parameters, call.gradients, call.first, call.second, call.chunks, call.rules, call.settings,
            call.state, call.low.places, call.low.weights);
}

inline void OpSgd(const UpdateCall& call) {
  using at::Tensor;
  using Optional = std::optional<Tensor>;
  FindOp<void(const Tensor&, const Tensor&, const Optional&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
              const Optional&, const Optional&)>("mantissa::sgd")
      .call(call.parameters, call.gradients, call.first.defined() ? Optional(call.first) : std::nullopt, call.chunks,
            call.rules, call.settings, call.state, call.low.places, call.low.weights);
}

// What an iteration begins with; what is undefined is left out.
struct BeginningCall {
  at::Tensor state;
  double targets = 1;
  at::Tensor seed;
  at::Tensor gradients = {};
  at::Tensor zeroed = {};
  at::Tensor skipped = {};
  at::Tensor window = {};
};

inline void OpBeginIteration(const BeginningCall& call) {
  using at::Tensor;
  using Optional = std::optional<Tensor>;
  const auto optional = [](const Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; };
  FindOp<void(const Tensor&, double, const Tensor&, const Optional&, const Optional&, const Optional&,
              const Optional&)>("mantissa::begin_iteration")
      .call(call.state, call.targets, call.seed, optional(call.gradients), optional(call.zeroed),
            optional(call.skipped), optional(call.window));
}

inline std::vector<GradientStats> OpGradStats(const at::Tensor& gradients, const std::vector<Chunk>& chunks,
                                              std::int64_t parameters, const StepState& state) {
  const at::Device device = gradients.device();
  const std::int64_t width = sizeof(GradientStats);
  const at::Tensor partial = at::full({static_cast<std::int64_t>(chunks.size()) * width}, 0xAB, at::kByte).to(device);
  const at::Tensor stats = at::full({parameters * width}, 0xAB, at::kByte).to(device);
  FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
      "mantissa::grad_stats")
      .call(gradients, ChunkTensor(chunks).to(device), BytesOf(state).to(device), partial, stats);
  std::vector<GradientStats> rows;
  for (std::int64_t i = 0; i < parameters; ++i) rows.push_back(StructOf<GradientStats>(stats, i));
  return rows;
}

}  // namespace mantissa::trainer
