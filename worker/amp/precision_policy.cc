#include "worker/amp/precision_policy.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/add.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/layer_norm.h>
#include <c10/util/Exception.h>

#include "proto/spec/module_precision.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/amp/emulated_product.h"
#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

at::ScalarType ComputeType(v1::PrecisionSpec::Mode mode) {
  switch (mode) {
    case v1::PrecisionSpec::FP16:
      return at::kHalf;
    case v1::PrecisionSpec::BF16:
      return at::kBFloat16;
    case v1::PrecisionSpec::FP32:
    case v1::PrecisionSpec::TF32:
      return at::kFloat;
    default:
      TORCH_CHECK(false, "precision mode ", static_cast<int>(mode), " has no compute type");
  }
}

}  // namespace

Activation ActivationFrom(v1::Activation::Function function) {
  switch (function) {
    case v1::Activation::GELU:
      return Activation::kGelu;
    case v1::Activation::TANH:
      return Activation::kTanh;
    default:
      return Activation::kRelu;
  }
}

std::optional<WeightStorage> WeightStorageOf(const v1::PrecisionSpec& precision,
                                             const std::vector<spec::Parameter>& parameters, at::Device device) {
  std::vector<spec::ComputingModule> modules;
  for (const spec::Parameter& parameter : parameters) modules.push_back(spec::ComputingModuleOf(parameter));
  const std::vector<spec::ModuleFormat> formats = spec::FormatsOf(precision, modules);
  // One format for all: what the spec asks for goes first.
  std::optional<at::ScalarType> asked, read;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::ScalarType type = ComputeType(formats[i].compute);
    if (type == at::kFloat || !spec::IsStoredLow(parameters[i])) continue;
    if (formats[i].stored_low) asked = type;
    if (!read) read = type;
  }
  if (!asked && !(read && device.is_cuda())) return std::nullopt;
  WeightStorage stored{asked.value_or(*read), {}};
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const bool is_bias =
        parameters[i].kind == spec::ParameterKind::kBias && parameters[i].module == spec::ModuleType::kLinear;
    const bool here = device.is_cuda() ? is_bias || spec::IsStoredLow(parameters[i])
                                       : formats[i].stored_low && spec::IsStoredLow(parameters[i]);
    stored.parameters.push_back(here && ComputeType(formats[i].compute) == stored.type);
  }
  return stored;
}

PrecisionPolicy::PrecisionPolicy(Mode mode) : mode_(mode), compute_type_(ComputeType(mode)) {}

PrecisionPolicy::PrecisionPolicy(const v1::PrecisionSpec& precision, const std::vector<spec::Parameter>& parameters,
                                 const std::vector<Mode>& emulated)
    : PrecisionPolicy(precision.mode()) {
  const auto policy = [&](Mode mode) {
    PrecisionPolicy made(mode);
    made.emulated_ = std::find(emulated.begin(), emulated.end(), mode) != emulated.end();
    return made;
  };
  emulated_ = policy(mode_).emulated_;
  if (precision.overrides_size() == 0) return;
  auto different = std::make_shared<Modules>();
  different->input_type = compute_type_;
  const std::vector<spec::ComputingModule> modules = spec::ComputingModules(parameters);
  const std::vector<spec::ModuleFormat> formats = spec::FormatsOf(precision, modules);
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (formats[i].compute != mode_) different->own.emplace(modules[i].path, policy(formats[i].compute));
    if (i == 0) different->input_type = ComputeType(formats[i].compute);
  }
  if (!different->own.empty()) modules_ = std::move(different);
}

PrecisionPolicy PrecisionPolicy::Of(std::string_view module) const {
  if (modules_ == nullptr) return *this;
  const auto found = modules_->own.find(module);
  return found == modules_->own.end() ? *this : found->second;
}

bool PrecisionPolicy::Emulates(const at::Tensor& x) const {
  TORCH_CHECK(emulated_ || mode_ != v1::PrecisionSpec::TF32 || !x.is_cpu(), "a CPU has no TF32 arithmetic");
  return emulated_;
}

bool PrecisionPolicy::ByFloats(const at::Tensor& x) const {
  return x.is_cpu() && (compute_type_ == at::kHalf || (compute_type_ == at::kBFloat16 && !CpuHasBfloat16()));
}

at::Tensor PrecisionPolicy::Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                   Activation activation, const StoredParameters& stored) const {
  if (Emulates(x)) return EmulatedProduct(mode_, compute_type_).Linear(x, weight, bias, activation);
  static const auto op = FindOp<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                           const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                           at::ScalarType, std::int64_t)>("mantissa::linear");
  const auto read = [this](const at::Tensor& low) {
    return low.defined() && low.scalar_type() == compute_type_ ? std::optional(low) : std::nullopt;
  };
  return op.call(x, weight, read(stored.weight), bias.defined() ? std::optional(bias) : std::nullopt, read(stored.bias),
                 compute_type_, static_cast<std::int64_t>(activation));
}

at::Tensor PrecisionPolicy::LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                      double epsilon) const {
  return at::layer_norm(x.to(at::kFloat), {x.size(-1)}, weight, bias, epsilon);
}

at::Tensor PrecisionPolicy::Attention(const at::Tensor& qkv, std::int64_t heads, bool causal) const {
  TORCH_CHECK(qkv.dim() == 3 && qkv.size(2) % (3 * heads) == 0, "qkv must be (B, T, 3 d) with d a multiple of ", heads);
  if (Emulates(qkv)) return EmulatedProduct(mode_, compute_type_).Attention(qkv, heads, causal);
  const at::Tensor operands = qkv.to(compute_type_).to(ByFloats(qkv) ? at::kFloat : compute_type_);
  static const auto op = FindOp<at::Tensor(const at::Tensor&, std::int64_t, bool)>("mantissa::attention");
  return op.call(operands, heads, causal).to(compute_type_);
}

at::Tensor PrecisionPolicy::Add(const at::Tensor& x, const at::Tensor& y) const { return at::add(x, y); }

at::Tensor PrecisionPolicy::Embedding(const at::Tensor& weight, const at::Tensor& tokens) const {
  return at::embedding(weight, tokens);
}

at::Tensor PrecisionPolicy::Dropout(const at::Tensor& x, double probability, const RandomKey& key,
                                    std::int32_t site) const {
  if (probability == 0) return x;
  if (key.window.defined()) {
    static const auto of_window =
        FindOp<at::Tensor(const at::Tensor&, double, std::int64_t, const at::Tensor&, std::int64_t, std::int64_t)>(
            "mantissa::dropout_of_window");
    return of_window.call(x, probability, static_cast<std::int64_t>(key.seed), key.window, key.micro_batch, site);
  }
  static const auto op =
      FindOp<at::Tensor(const at::Tensor&, double, std::int64_t, std::int64_t, std::int64_t, std::int64_t)>(
          "mantissa::dropout");
  return op.call(x, probability, static_cast<std::int64_t>(key.seed), key.iteration, key.micro_batch, site);
}

at::Tensor PrecisionPolicy::CrossEntropy(const at::Tensor& logits, const at::Tensor& targets) const {
  static const auto op = FindOp<at::Tensor(const at::Tensor&, const at::Tensor&)>("mantissa::cross_entropy");
  return op.call(logits, targets);
}

}  // namespace mantissa::trainer
