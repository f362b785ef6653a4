// Each model against its definition written with ATen in double: logits, loss and the gradient of every parameter.
#include <cmath>
#include <map>
#include <string>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/amp/attention_in_double.h"
#include "tests/unit/models/sample_models.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;

at::Tensor Activate(v1::Activation::Function function, const at::Tensor& x) {
  switch (function) {
    case v1::Activation::GELU:
      return at::gelu(x, "tanh");
    case v1::Activation::TANH:
      return at::tanh(x);
    default:
      return at::relu(x);
  }
}

// A model's parameters as leaves in double, and its forward pass over them.
class Definition {
 public:
  Definition(const SampleModel& sample, const ParameterBuffer& parameters) : spec_(sample.spec) {
    for (const Parameter& parameter : parameters.parameters()) {
      leaves_[parameter.shape.path] = parameter.value.detach().to(at::kDouble).requires_grad_(true);
    }
  }

  at::Tensor Forward(const at::Tensor& input) const {
    if (spec_.has_mlp()) return Mlp(input.to(at::kDouble));
    if (spec_.has_gpt()) return Gpt(input);
    return Encoder(input.to(at::kDouble));
  }

  const at::Tensor& operator[](const std::string& name) const { return leaves_.at(name); }

 private:
  at::Tensor Linear(const at::Tensor& x, const std::string& path) const {
    return x.matmul(leaves_.at(path + ".weight").t()) + leaves_.at(path + ".bias");
  }
  at::Tensor Norm(const at::Tensor& x, const std::string& path) const {
    const at::Tensor centred = x - x.mean(-1, true);
    const at::Tensor scaled = centred / (centred.square().mean(-1, true) + 1e-5).sqrt();
    return scaled * leaves_.at(path + ".weight") + leaves_.at(path + ".bias");
  }
  at::Tensor Attention(const at::Tensor& x, const std::string& path, std::int64_t heads, bool causal) const {
    return Linear(AttentionInDouble(Linear(x, path + ".qkv"), heads, causal), path + ".proj");
  }

  at::Tensor Mlp(const at::Tensor& input) const {
    at::Tensor x = input.flatten(1);
    for (int i = 0; i < spec_.mlp().hidden_size(); ++i) {
      x = Activate(spec_.mlp().activation(), Linear(x, "layers." + std::to_string(i)));
    }
    return Linear(x, "head");
  }
  at::Tensor Encoder(const at::Tensor& input) const {
    const v1::TransformerEncoder& spec = spec_.transformer_encoder();
    at::Tensor x = leaves_.contains("input.weight") ? Linear(input, "input") : input;
    for (int i = 0; i < spec.layers(); ++i) {
      const std::string layer = "layers." + std::to_string(i);
      x = Norm(x + Attention(x, layer + ".attention", spec.heads(), false), layer + ".norm1");
      const at::Tensor inner = Activate(spec.activation(), Linear(x, layer + ".feed_forward.up"));
      x = Norm(x + Linear(inner, layer + ".feed_forward.down"), layer + ".norm2");
    }
    return Linear(x.mean(1), "head");
  }
  at::Tensor Gpt(const at::Tensor& tokens) const {
    const at::Tensor& table = leaves_.at("token_embedding.weight");
    at::Tensor x = table.index({tokens}) + leaves_.at("position_embedding.weight").narrow(0, 0, tokens.size(1));
    for (int i = 0; i < spec_.gpt().layers(); ++i) {
      const std::string block = "blocks." + std::to_string(i);
      x = x + Attention(Norm(x, block + ".norm1"), block + ".attention", spec_.gpt().heads(), true);
      const at::Tensor inner = at::gelu(Linear(Norm(x, block + ".norm2"), block + ".feed_forward.up"), "tanh");
      x = x + Linear(inner, block + ".feed_forward.down");
    }
    return Norm(x, "norm").matmul(table.t()).flatten(0, 1);
  }

  const v1::Model& spec_;
  std::map<std::string, at::Tensor> leaves_;
};

std::vector<SampleModel> Samples() {
  return {SampleMlp({}, {6}, 4),
          SampleMlp({16, 9}, {2, 5}, 4, v1::Activation::TANH),
          SampleMlp({16}, {7}, 4, v1::Activation::GELU),
          SampleEncoder(1, 8, 2, {5, 8}, 4),
          SampleEncoder(2, 16, 4, {6, 7}, 5, v1::Activation::GELU),
          SampleEncoder(1, 12, 1, {3, 7}, 5, v1::Activation::TANH),
          SampleGpt(1, 8, 2, 6, 11),
          SampleGpt(3, 24, 3, 9, 17)};
}

// Larger weights and biases than a model starts with, so that every path carries something.
void Stir(const ParameterBuffer& parameters) {
  at::manual_seed(13);
  for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
    const at::Tensor view = parameters.ViewOf(parameters.values(), i);
    view.add_(at::randn_like(view) * 0.2);
  }
}

struct Errors {
  double logits = 0;    // largest, as a share of the largest logit
  double gradient = 0;  // largest over parameters, as a share of the largest gradient of any
};

Errors Compare(const SampleModel& sample, Mode::Mode mode) {
  const std::unique_ptr<Model> model = sample.Build();
  Stir(model->parameters());
  const Definition definition(sample, model->parameters());
  const at::Tensor input = sample.Input(5);
  const PrecisionPolicy policy(mode);
  const at::Tensor logits = model->Forward(input, {.policy = policy, .key = {}});
  const at::Tensor expected = definition.Forward(input);
  const at::Tensor targets = at::randint(0, sample.classes(), {logits.size(0)}, at::kLong);
  policy.CrossEntropy(logits, targets).backward();
  at::cross_entropy_loss(expected, targets, {}, at::Reduction::Sum).backward();

  Errors errors;
  errors.logits =
      ((logits.detach().to(at::kDouble) - expected.detach()).abs().max() / expected.abs().max()).item<double>();
  double largest = 0, worst = 0;
  for (const Parameter& parameter : model->parameters().parameters()) {
    const at::Tensor& want = definition[parameter.shape.path].grad();
    largest = std::max(largest, want.abs().max().item<double>());
    worst = std::max(worst, (parameter.value.grad().to(at::kDouble) - want).abs().max().item<double>());
  }
  errors.gradient = worst / largest;
  return errors;
}

TEST(ReferenceTest, InFp32LogitsAndGradientsAgreeWithTheDefinition) {
  for (const SampleModel& sample : Samples()) {
    const Errors errors = Compare(sample, Mode::FP32);
    // Three layers of sums of a few dozen products, each within some 2^-23: measured up to 5e-7.
    EXPECT_LE(errors.logits, 4e-6) << sample.spec.ShortDebugString();
    EXPECT_LE(errors.gradient, 4e-6) << sample.spec.ShortDebugString();
  }
}

TEST(ReferenceTest, InLowPrecisionTheyAgreeWithinAFewUnitsOfTheFormat) {
  for (const SampleModel& sample : Samples()) {
    for (const auto& [mode, unit] : {std::pair(Mode::BF16, 0x1p-7), std::pair(Mode::FP16, 0x1p-10)}) {
      const Errors errors = Compare(sample, mode);
      // Half a unit for each rounding on the way, of which a layer has about ten; independent, so they add as roots:
      // measured up to 2.6 units.
      EXPECT_LE(errors.logits, 4 * unit) << sample.spec.ShortDebugString();
      EXPECT_LE(errors.gradient, 4 * unit) << sample.spec.ShortDebugString();
      // And it was that precision that ran: FP32 is thousands of times nearer.
      EXPECT_GE(errors.logits, unit / 64) << sample.spec.ShortDebugString();
    }
  }
}

}  // namespace
}  // namespace mantissa::trainer
