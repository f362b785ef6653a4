// Models made of layers against definitions written with ATen in double, layer by layer.
#include "worker/models/layered_model.h"

#include <functional>
#include <map>
#include <string>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <google/protobuf/text_format.h>

#include "proto/spec/defaults.h"
#include "tests/unit/amp/attention_in_double.h"
#include "tests/unit/models/sample_models.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;
using Leaves = std::map<std::string, at::Tensor>;

// In 4 classes.
SampleModel FromText(const std::string& model, std::vector<std::int64_t> features) {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "training { model { " + model + " } data { train { synthetic { classes: 11 } } } }", &spec))
      << model;
  SampleModel sample;
  sample.spec = spec::ResolveDefaults(spec).training().model();
  sample.sample = {.features = std::move(features), .classes = spec::ReadsTokens(sample.spec) ? 11 : 4};
  return sample;
}

SampleModel SampleLayers(const std::string& layers, std::vector<std::int64_t> features) {
  return FromText("sequential { " + layers + " }", std::move(features));
}

constexpr char kConvnet[] = "convnet { channels: [4, 6] convolutions: 2 }";

at::Tensor BatchNormInDouble(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  std::vector<std::int64_t> over = {0}, shape(static_cast<std::size_t>(x.dim()), 1);
  for (std::int64_t d = 2; d < x.dim(); ++d) over.push_back(d);
  shape[1] = -1;
  const at::Tensor mean = x.mean(over, true), variance = x.var(over, /*unbiased=*/false, /*keepdim=*/true);
  return (x - mean) / (variance + 1e-5).sqrt() * weight.view(shape) + bias.view(shape);
}

// What is between two roundings: identity in FP32.
using Rounding = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor ConvnetInDouble(const Leaves& leaves, const at::Tensor& input, const Rounding& round) {
  at::Tensor x = input.dim() == 3 ? input.unsqueeze(1) : input;
  for (int stage = 0; stage < 2; ++stage) {
    for (int i = 0; i < 2; ++i) {
      const std::string path = "stages." + std::to_string(stage) + "." + std::to_string(i);
      const at::Tensor weight = round(leaves.at(path + ".conv.weight"));
      x = round(at::conv2d(round(x), weight, {}, at::IntArrayRef({1, 1}), at::IntArrayRef({1, 1})));
      x = at::relu(BatchNormInDouble(x, leaves.at(path + ".norm.weight"), leaves.at(path + ".norm.bias")));
    }
    x = at::max_pool2d(x, {2, 2});
  }
  x = x.mean(at::IntArrayRef({2, 3}));
  return round(round(x).matmul(round(leaves.at("head.weight")).t()) + round(leaves.at("head.bias")));
}

struct Errors {
  double logits = 0;
  double gradient = 0;  // largest over parameters, as a share of the largest gradient of any
};

Errors Compare(const SampleModel& sample, Mode::Mode mode, std::int64_t batch,
               const std::function<at::Tensor(const Leaves&, const at::Tensor&, const Rounding&)>& definition) {
  // Models so small run several times faster on one thread.
  at::set_num_threads(1);
  at::manual_seed(41);
  const std::unique_ptr<Model> model = sample.Build();
  Leaves leaves;
  for (const Parameter& parameter : model->parameters().parameters()) {
    parameter.value.detach().add_(at::randn_like(parameter.value).detach() * 0.2);
    leaves[parameter.shape.path] = parameter.value.detach().to(at::kDouble).requires_grad_(true);
  }
  const at::Tensor input = sample.Input(batch);
  const PrecisionPolicy policy(mode);
  const at::ScalarType type = policy.compute_type();
  const Rounding round = [type](const at::Tensor& x) { return type == at::kFloat ? x : x.to(type).to(at::kDouble); };
  const at::Tensor logits = model->Forward(input, {.policy = policy, .key = {}});
  const at::Tensor exact = input.is_floating_point() ? input.to(at::kDouble) : input;
  const at::Tensor expected = definition(leaves, exact, round);
  EXPECT_EQ(logits.sizes(), expected.sizes());
  const at::Tensor targets = at::randint(0, sample.classes(), {logits.size(0)}, at::kLong);
  policy.CrossEntropy(logits, targets).backward();
  at::cross_entropy_loss(expected, targets, {}, at::Reduction::Sum).backward();
  Errors errors;
  errors.logits =
      ((logits.detach().to(at::kDouble) - expected.detach()).abs().max() / expected.abs().max()).item<double>();
  double largest = 0, worst = 0;
  for (const Parameter& parameter : model->parameters().parameters()) {
    const at::Tensor& want = leaves.at(parameter.shape.path).grad();
    largest = std::max(largest, want.abs().max().item<double>());
    worst = std::max(worst, (parameter.value.grad().to(at::kDouble) - want).abs().max().item<double>());
  }
  errors.gradient = worst / largest;
  return errors;
}

TEST(LayeredModelTest, AConvnetInFp32IsItsDefinition) {
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{8, 8}, {3, 9, 8}}) {
    const Errors errors = Compare(FromText(kConvnet, shape), Mode::FP32, 6, ConvnetInDouble);
    // Four normalisations in a row, each of which may divide by a deviation of a tenth.
    EXPECT_LE(errors.logits, 2e-5);
    EXPECT_LE(errors.gradient, 2e-5);
  }
}

TEST(LayeredModelTest, AConvnetInLowPrecisionRoundsWhereItsDefinitionDoes) {
  for (const auto& [mode, unit] : {std::pair(Mode::BF16, 0x1p-7), std::pair(Mode::FP16, 0x1p-10)}) {
    const Errors errors = Compare(FromText(kConvnet, {3, 9, 8}), mode, 16, ConvnetInDouble);
    // The definition rounds operands, results and gradients at the same places. What is left is the few values that
    // FP32 sums bring to the other side of a halfway point, one unit each, among the many that a normalisation
    // averages.
    EXPECT_LE(errors.logits, 2 * unit) << Mode::Mode_Name(mode);
    EXPECT_LE(errors.gradient, 2 * unit) << Mode::Mode_Name(mode);
  }
}

// One of every kind that works on sequences of tokens.
TEST(LayeredModelTest, TokenLayersAreTheirDefinition) {
  const SampleModel sample = SampleLayers(
      "layers { embedding { width: 8 context: 6 positions: true } } "
      "layers { residual { layers { rms_norm {} } layers { attention { heads: 2 } } } } "
      "layers { residual { layers { layer_norm {} } layers { linear { out: 16 } } layers { gelu {} } "
      "layers { linear { out: 8 bias: false } } } } layers { scale { factor: 0.5 } } layers { linear {} } "
      "layers { log_softmax {} }",
      {});
  const auto definition = [](const Leaves& leaves, const at::Tensor& tokens, const Rounding&) {
    const auto linear = [&](const at::Tensor& x, const std::string& path) {
      const at::Tensor y = x.matmul(leaves.at(path + ".weight").t());
      return leaves.contains(path + ".bias") ? y + leaves.at(path + ".bias") : y;
    };
    at::Tensor x = leaves.at("layers.0.weight").index({tokens}) + leaves.at("layers.0.positions");
    const at::Tensor first = x / (x.square().mean(-1, true) + 1e-6).sqrt() * leaves.at("layers.1.layers.0.weight");
    x = x + linear(AttentionInDouble(linear(first, "layers.1.layers.1.qkv"), 2, true), "layers.1.layers.1.proj");
    const at::Tensor second =
        at::layer_norm(x, {8}, leaves.at("layers.2.layers.0.weight"), leaves.at("layers.2.layers.0.bias"), 1e-5);
    x = x + linear(at::gelu(linear(second, "layers.2.layers.1"), "tanh"), "layers.2.layers.3");
    return at::log_softmax(linear(x * 0.5, "layers.4"), -1).flatten(0, 1);
  };
  const Errors errors = Compare(sample, Mode::FP32, 5, definition);
  EXPECT_LE(errors.logits, 4e-6);
  EXPECT_LE(errors.gradient, 4e-6);
}

TEST(LayeredModelTest, LayersOverTimeAreTheirDefinition) {
  const SampleModel sample = SampleLayers(
      "layers { conv1d { out: 6 kernel: 3 padding: 1 stride: 2 groups: 2 } } layers { batch_norm1d {} } "
      "layers { tanh {} } layers { max_pool1d {} } layers { average_pool1d { kernel: 2 stride: 1 } } "
      "layers { global_average_pool {} } layers { linear {} }",
      {12, 4});
  const auto definition = [](const Leaves& leaves, const at::Tensor& input, const Rounding&) {
    at::Tensor x = at::conv1d(input.transpose(1, 2), leaves.at("layers.0.weight"), leaves.at("layers.0.bias"),
                              at::IntArrayRef({2}), at::IntArrayRef({1}), at::IntArrayRef({1}), 2);
    x = at::tanh(BatchNormInDouble(x, leaves.at("layers.1.weight"), leaves.at("layers.1.bias")));
    x = at::avg_pool1d(at::max_pool1d(x, {2}), {2}, {1}).mean(2);
    return x.matmul(leaves.at("layers.6.weight").t()) + leaves.at("layers.6.bias");
  };
  const Errors errors = Compare(sample, Mode::FP32, 5, definition);
  EXPECT_LE(errors.logits, 1e-5);
  EXPECT_LE(errors.gradient, 1e-5);
}

TEST(LayeredModelTest, VolumesAndFeaturesAreNormalisedByBatch) {
  const SampleModel sample = SampleLayers(
      "layers { batch_norm3d {} } layers { flatten {} } layers { batch_norm1d {} } layers { relu {} } layers { linear "
      "{} }",
      {2, 2, 3, 2});
  const auto definition = [](const Leaves& leaves, const at::Tensor& input, const Rounding&) {
    at::Tensor x = BatchNormInDouble(input, leaves.at("layers.0.weight"), leaves.at("layers.0.bias")).flatten(1);
    x = at::relu(BatchNormInDouble(x, leaves.at("layers.2.weight"), leaves.at("layers.2.bias")));
    return x.matmul(leaves.at("layers.4.weight").t()) + leaves.at("layers.4.bias");
  };
  const Errors errors = Compare(sample, Mode::FP32, 9, definition);
  EXPECT_LE(errors.logits, 1e-5);
  EXPECT_LE(errors.gradient, 1e-5);
}

TEST(LayeredModelTest, EveryLayerGivesTheShapeOfItsPlan) {
  // Sees what passes.
  class Shapes final : public ActivationProbe {
   public:
    at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
      seen[module] = output.sizes().vec();
      return output;
    }
    std::map<std::string, std::vector<std::int64_t>> seen;
  };
  const std::vector<SampleModel> samples = {
      FromText(kConvnet, {8, 8}), FromText("pathological { width: 5 }", {2, 3}),
      SampleLayers(
          "layers { conv2d { out: 2 } } layers { residual { layers { conv2d { out: 2 padding: 1 bias: false } } "
          "layers { batch_norm2d {} } layers { dropout {} } } } layers { average_pool2d {} } "
          "layers { max_pool2d { stride: 1 } } layers { flatten {} } layers { linear {} }",
          {8, 9}),
      SampleLayers("layers { conv1d { out: 3 } } layers { flatten {} } layers { linear {} }", {8})};
  for (const SampleModel& sample : samples) {
    Shapes probe;
    const PrecisionPolicy policy(Mode::FP32);
    sample.Build()->Forward(sample.Input(2), {.policy = policy, .key = {}, .training = true, .probe = &probe});
    std::size_t layers = 0;
    spec::ForEachLayer(spec::PlanLayers(sample.spec, sample.sample), [&](const spec::LayerPlan& layer) {
      ++layers;
      ASSERT_TRUE(probe.seen.contains(layer.path)) << layer.path;
      std::vector<std::int64_t> expected = layer.output;
      expected.insert(expected.begin(), 2);
      EXPECT_EQ(probe.seen[layer.path], expected) << layer.path;
    });
    EXPECT_EQ(probe.seen.size(), layers);
  }
}

TEST(LayeredModelTest, TrainingMovesPendingStatisticsAndEvaluationReadsTheCommitted) {
  const SampleModel sample = FromText(kConvnet, {8, 8});
  const std::unique_ptr<Model> model = sample.Build();
  ASSERT_EQ(model->buffers().size(), 8u);
  at::manual_seed(3);
  const at::Tensor input = sample.Input(8);
  const PrecisionPolicy policy(Mode::FP32);
  const auto evaluated = [&] {
    return model->Forward(input, {.policy = policy, .key = {}, .training = false}).detach().clone();
  };
  const at::Tensor before = evaluated();
  std::vector<at::Tensor> buffers;
  for (const NamedTensor& buffer : model->buffers()) buffers.push_back(buffer.tensor.clone());
  model->Forward(input, {.policy = policy, .key = {}});
  EXPECT_TRUE(at::equal(evaluated(), before));
  for (std::size_t i = 0; i < buffers.size(); ++i) EXPECT_TRUE(at::equal(model->buffers()[i].tensor, buffers[i]));
  for (const NamedTensor& buffer : model->buffers()) buffer.tensor.add_(0.5);
  EXPECT_FALSE(at::equal(evaluated(), before));
}

TEST(LayeredModelTest, DropoutsOfAModelDropDifferentElements) {
  const SampleModel sample = SampleLayers(
      "layers { dropout { probability: 0.5 } } layers { residual { layers { dropout { probability: 0.5 } } } } layers "
      "{ "
      "linear {} }",
      {64});
  const std::unique_ptr<Model> model = sample.Build();
  model->parameters().values().zero_();
  model->parameters().at("layers.2.weight").detach()[0].fill_(1);
  const PrecisionPolicy policy(Mode::FP32);
  const at::Tensor input = at::ones({1, 64});
  // Kept by the first, 2, and by both 2 + 4: with one draw for both no element would be 2.
  class Values final : public ActivationProbe {
   public:
    at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
      if (module == "layers.1") values = output.detach().clone();
      return output;
    }
    at::Tensor values;
  };
  Values probe;
  model->Forward(input, {.policy = policy, .key = {.seed = 6}, .training = true, .probe = &probe});
  for (const double level : {0.0, 2.0, 6.0}) EXPECT_TRUE(probe.values.eq(level).any().item<bool>()) << level;
  model->Forward(input, {.policy = policy, .key = {.seed = 6}, .training = false, .probe = &probe});
  EXPECT_TRUE(probe.values.eq(2).all().item<bool>());
}

TEST(LayeredModelTest, APathologicalModelStartsWithItsExtremesAndFlushesInFp16) {
  const SampleModel sample = FromText("pathological {}", {100});
  const std::unique_ptr<Model> model = sample.Build();
  EXPECT_TRUE(model->parameters().at("tiny.weight").eq(1e-6f).all().item<bool>());
  EXPECT_TRUE(model->parameters().at("huge.weight").eq(1e3f).all().item<bool>());
  EXPECT_TRUE(model->parameters().at("head.weight").abs().le(0.1).all().item<bool>());
  at::manual_seed(5);
  const at::Tensor input = sample.Input(32);
  const at::Tensor targets = at::randint(0, 4, {32}, at::kLong);
  // Unscaled, the saturated tanh leaves less than FP16 can hold: what the model is there to show.
  const auto flushed = [&](Mode::Mode mode) {
    model->parameters().ZeroGradients();
    const PrecisionPolicy policy(mode);
    policy.CrossEntropy(model->Forward(input, {.policy = policy, .key = {}}), targets).backward(at::full({}, 1.0 / 32));
    return model->parameters().at("tiny.weight").grad().eq(0).to(at::kDouble).mean().item<double>();
  };
  EXPECT_GT(flushed(Mode::FP16), 0.9);
}

}  // namespace
}  // namespace mantissa::trainer
