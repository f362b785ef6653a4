// The operations a model is made of, each in the number formats of the precision table: casts are explicit, autocast
// is never used.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"

namespace mantissa::trainer {

enum class Activation { kNone, kRelu, kGelu, kTanh };  // kGelu: the tanh approximation

Activation ActivationFrom(v1::Activation::Function function);  // unspecified: kRelu

// Where a random draw stands. Equal keys draw equal numbers, on CPU and CUDA, whatever was drawn before.
struct RandomKey {
  std::uint64_t seed = 0;
  std::int32_t iteration = 0;
  std::int32_t micro_batch = 0;
  // Holds the iteration where only the device knows it: int64, one element. Undefined: `iteration` does.
  at::Tensor window = {};
};

struct ConvolutionOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t groups = 1;
};

// In the type of its operands. `bias` may be undefined.
at::Tensor Convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    const ConvolutionOptions& options);

// The running statistics of a batch norm, (C) FP32 each, which a training pass moves on in place.
struct BatchStatistics {
  const at::Tensor& mean;
  const at::Tensor& variance;
};

struct BatchNormOptions {
  bool training = true;  // normalise by the batch, else by the running statistics
  double momentum = 0.1;
  double epsilon = 1e-5;
};

struct PoolOptions {
  std::int64_t kernel = 2;
  std::int64_t stride = 2;
};

// Weights that are stored in a low format beside their FP32 masters.
struct WeightStorage {
  at::ScalarType type = at::kBFloat16;
  std::vector<bool> parameters;  // which
};

// A layer's, in a low format; undefined where none is kept.
struct StoredParameters {
  at::Tensor weight;
  at::Tensor bias;
};

// As `precision`, in whatever mode is in effect, says of a model with these parameters on this device; nothing where
// none are stored. A GPU stores what its linear layers read in a low format, biases too, whatever the spec says: to the
// same bits and in as much memory as casts at use, which take a launch each.
std::optional<WeightStorage> WeightStorageOf(const v1::PrecisionSpec& precision,
                                             const std::vector<spec::Parameter>& parameters, at::Device device);

// FP32 in FP32 mode; else products in the compute type and norms, softmax, sums and the loss in FP32. FP16 on CPU
// casts to FP32, computes there and rounds each result once, as tensor cores do: CPUs have no FP16 arithmetic worth
// using. TF32 is FP32 whose products a GPU's tensor cores read rounded (process_globals.h). Parameters are FP32 leaves
// whose .grad is set: gradients are added into it. Immutable and cheap to copy; thread-safe.
class PrecisionPolicy {
 public:
  using Mode = v1::PrecisionSpec::Mode;

  // The same for every module, on a device that has it.
  explicit PrecisionPolicy(Mode mode);
  // With what `precision` says of single modules of a model with these parameters. Products in the modes of `emulated`,
  // which the device has no arithmetic for, are FP32 products of rounded operands.
  PrecisionPolicy(const v1::PrecisionSpec& precision, const std::vector<spec::Parameter>& parameters,
                  const std::vector<Mode>& emulated);

  // Of the module at this path.
  PrecisionPolicy Of(std::string_view module) const;

  Mode mode() const { return mode_; }
  at::ScalarType compute_type() const { return compute_type_; }
  // That the model's first module reads the batch in.
  at::ScalarType input_type() const { return modules_ == nullptr ? compute_type_ : modules_->input_type; }

  // x (..., in), weight (out, in), bias (out) or undefined -> (..., out) in the compute type. The activation is applied
  // to the rounded product. `stored`: read instead where that is the compute type.
  at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    Activation activation = Activation::kNone, const StoredParameters& stored = {}) const;
  // x (B, C, L) or (B, C, H, W), weight (out, C / groups, k) or (out, C / groups, k, k), bias (out) or undefined, in
  // the compute type.
  at::Tensor Convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         const ConvolutionOptions& options) const;
  // x (B, C) or (B, C, ...), FP32 inside and out. A batch with one value a channel has no variance: it is normalised by
  // the running statistics, and leaves them.
  at::Tensor BatchNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       const BatchStatistics& running, const BatchNormOptions& options) const;
  // x (..., d), FP32 inside and out.
  at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) const;
  // x (..., d), FP32 inside and out.
  at::Tensor LogSoftmax(const at::Tensor& x) const;
  // x (B, C, L) or (B, C, H, W). The largest keeps the type of x; the mean is a sum, so FP32.
  at::Tensor MaxPool(const at::Tensor& x, const PoolOptions& options) const;
  at::Tensor AveragePool(const at::Tensor& x, const PoolOptions& options) const;
  // The mean over these dimensions, in FP32.
  at::Tensor Mean(const at::Tensor& x, at::IntArrayRef dimensions) const;
  // Keep the type of x; FP32 inside, one rounding.
  at::Tensor Activate(const at::Tensor& x, Activation activation) const;
  at::Tensor Scale(const at::Tensor& x, double factor) const;
  // x (..., d), FP32 inside and out.
  at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       double epsilon = 1e-5) const;
  // qkv (B, T, 3 d) -> (B, T, d) in the compute type; softmax in FP32.
  at::Tensor Attention(const at::Tensor& qkv, std::int64_t heads, bool causal) const;
  // x + y in the wider of their types.
  at::Tensor Add(const at::Tensor& x, const at::Tensor& y) const;
  // tokens (...) int64 -> (..., d) FP32.
  at::Tensor Embedding(const at::Tensor& weight, const at::Tensor& tokens) const;
  // Keeps the type of x. `site` tells apart the dropouts of one forward pass. probability 0: x itself.
  at::Tensor Dropout(const at::Tensor& x, double probability, const RandomKey& key, std::int32_t site) const;
  // logits (N, C), targets (N) int64 in [0, C) or kIgnored -> sum of the losses of the valid rows, FP32, 0-dim.
  at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& targets) const;

  static constexpr std::int64_t kIgnored = -100;

 private:
  // What differs between modules.
  struct Modules {
    std::map<std::string, PrecisionPolicy, std::less<>> own;
    at::ScalarType input_type = at::kFloat;
  };

  // On a CPU without arithmetic of the compute type: FP32 inside an op, one rounding of its result.
  bool ByFloats(const at::Tensor& x) const;
  // Whether this op is to be emulated; throws where it would have to be and nobody asked for it.
  bool Emulates(const at::Tensor& x) const;

  Mode mode_;
  at::ScalarType compute_type_;
  bool emulated_ = false;
  std::shared_ptr<const Modules> modules_;  // null: all are alike
};

}  // namespace mantissa::trainer
