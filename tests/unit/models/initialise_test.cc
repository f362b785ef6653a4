#include "worker/models/initialise.h"

#include <cmath>
#include <string>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "tests/unit/models/sample_models.h"
#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer {
namespace {

at::Tensor Uniform(std::int64_t count, const InitialKey& key, double bound = 1) {
  const at::Tensor values = at::zeros({count});
  FillUniform(values, key, bound);
  return values;
}

at::Tensor Normal(std::int64_t count, const InitialKey& key, double deviation = 1) {
  const at::Tensor values = at::zeros({count});
  FillNormal(values, key, deviation);
  return values;
}

double Mean(const at::Tensor& values) { return values.to(at::kDouble).mean().item<double>(); }
double Deviation(const at::Tensor& values) { return values.to(at::kDouble).std().item<double>(); }

constexpr std::int64_t kMany = 1 << 18;
// Five standard errors of a mean of kMany unit normals.
constexpr double kFiveErrors = 5.0 / 512;

TEST(InitialiseTest, UniformFillsItsRangeEvenly) {
  const at::Tensor values = Uniform(kMany, {7, 0}, 0.5);
  EXPECT_GE(values.min().item<float>(), -0.5f);
  EXPECT_LT(values.max().item<float>(), 0.5f);
  // The extremes of 2^18 draws are within 20 / 2^18 of the ends but for e^-20.
  EXPECT_LT(values.min().item<float>(), -0.5f + 1e-4f);
  EXPECT_GT(values.max().item<float>(), 0.5f - 1e-4f);
  EXPECT_NEAR(Mean(values), 0, 0.5 * kFiveErrors);
  EXPECT_NEAR(Deviation(values), 0.5 / std::sqrt(3.0), 0.5 * kFiveErrors);
}

TEST(InitialiseTest, NormalHasTheMomentsOfANormal) {
  const at::Tensor values = Normal(kMany, {7, 0}, 2);
  EXPECT_TRUE(values.isfinite().all().item<bool>());
  EXPECT_NEAR(Mean(values), 0, 2 * kFiveErrors);
  EXPECT_NEAR(Deviation(values), 2, 2 * kFiveErrors);
  const at::Tensor unit = values.to(at::kDouble) / 2;
  // Third moment 0 with variance 15, fourth moment 3 with variance 96.
  EXPECT_NEAR(unit.pow(3).mean().item<double>(), 0, kFiveErrors * std::sqrt(15.0));
  EXPECT_NEAR(unit.pow(4).mean().item<double>(), 3, kFiveErrors * std::sqrt(96.0));
  // Neighbours, the two of a pair among them, know nothing of each other.
  for (const std::int64_t lag : {1, 2, 3, 4}) {
    const at::Tensor product = unit.narrow(0, 0, kMany - 4) * unit.narrow(0, lag, kMany - 4);
    EXPECT_NEAR(product.mean().item<double>(), 0, kFiveErrors) << lag;
  }
}

TEST(InitialiseTest, AnElementDependsOnSeedParameterAndPlaceAlone) {
  for (const auto fill : {Uniform, Normal}) {
    const at::Tensor all = fill(1001, {3, 4}, 1);
    EXPECT_TRUE(at::equal(fill(1001, {3, 4}, 1), all));
    for (const std::int64_t count : {0, 1, 2, 3, 4, 5, 999}) {
      EXPECT_TRUE(at::equal(fill(count, {3, 4}, 1), all.narrow(0, 0, count)));
    }
    for (const InitialKey& other : {InitialKey{4, 4}, InitialKey{3, 5}, InitialKey{3 + (1ULL << 32), 4}}) {
      EXPECT_LT(fill(1001, other, 1).eq(all).sum().item<std::int64_t>(), 5);
    }
  }
}

TEST(InitialiseTest, DrawsAreTheDocumentedOnes) {
  // Element 5 is word 1 of the draw with the counter (1, 0, parameter, all ones).
  const Philox4 words = Philox({{1, 0, 9, 0xFFFFFFFF}}, 123);
  const double unit = static_cast<double>(words.word[1] >> 8) / 16777216;
  EXPECT_EQ(Uniform(6, {123, 9}, 0.25)[5].item<float>(), static_cast<float>((2 * unit - 1) * 0.25));
}

TEST(InitialiseTest, ThreadsChangeNoBit) {
  const int before = at::get_num_threads();
  for (const auto fill : {Uniform, Normal}) {
    at::set_num_threads(1);
    const at::Tensor alone = fill(kMany + 3, {3, 4}, 1);
    at::set_num_threads(4);
    EXPECT_TRUE(at::equal(fill(kMany + 3, {3, 4}, 1), alone));
  }
  at::set_num_threads(before);
}

TEST(InitialiseTest, FillsLeavesInPlaceWithoutHistory) {
  const at::Tensor leaf = at::zeros({8}).requires_grad_(true);
  FillConstant(leaf, 3);
  EXPECT_TRUE(leaf.eq(3).all().item<bool>());
  FillUniform(leaf, {1, 1}, 1);
  FillNormal(leaf, {1, 1}, 1);
  EXPECT_TRUE(leaf.is_leaf());
}

// The first values of every parameter of a model.
struct Initial {
  explicit Initial(const SampleModel& sample) : model(sample.Build(5)) {}

  at::Tensor operator()(const std::string& name) const { return model->parameters().at(name).detach(); }

  void ExpectUniform(const std::string& name, double bound) const {
    const at::Tensor values = (*this)(name);
    const double count = static_cast<double>(values.numel());
    EXPECT_LE(values.abs().max().item<double>(), bound) << name;
    // Chance that no value lies in the outer share: (1 - share)^count, here e^-20.
    EXPECT_GT(values.abs().max().item<double>(), bound * (1 - 20 / count)) << name;
    EXPECT_NEAR(Mean(values), 0, bound * 5 / std::sqrt(3 * count)) << name;
    EXPECT_NEAR(Deviation(values), bound / std::sqrt(3.0), bound * 5 / std::sqrt(5 * count)) << name;
  }

  void ExpectNormal(const std::string& name, double deviation) const {
    const at::Tensor values = (*this)(name);
    const double count = static_cast<double>(values.numel());
    EXPECT_NEAR(Mean(values), 0, deviation * 5 / std::sqrt(count)) << name;
    EXPECT_NEAR(Deviation(values), deviation, deviation * 5 / std::sqrt(2 * count)) << name;
    // A uniform of this deviation ends at 1.73 of it.
    EXPECT_GT(values.abs().max().item<double>(), 2.5 * deviation) << name;
  }

  void ExpectConstant(const std::string& name, float value) const {
    EXPECT_TRUE((*this)(name).eq(value).all().item<bool>()) << name;
  }

  std::unique_ptr<Model> model;
};

TEST(InitialiseTest, AnMlpStartsLikePyTorchsLinearLayers) {
  const Initial initial(SampleMlp({400, 100}, {25}, 64));
  initial.ExpectUniform("layers.0.weight", 1 / std::sqrt(25.0));
  initial.ExpectUniform("layers.0.bias", 1 / std::sqrt(25.0));
  initial.ExpectUniform("layers.1.weight", 1 / std::sqrt(400.0));
  initial.ExpectUniform("layers.1.bias", 1 / std::sqrt(400.0));
  initial.ExpectUniform("head.weight", 1 / std::sqrt(100.0));
  initial.ExpectUniform("head.bias", 1 / std::sqrt(100.0));
}

TEST(InitialiseTest, AnEncoderStartsLikePyTorchsAttentionAndNorms) {
  const Initial initial(SampleEncoder(2, 64, 4, {9, 48}, 100));
  initial.ExpectUniform("input.weight", 1 / std::sqrt(48.0));
  for (const std::string layer : {"layers.0", "layers.1"}) {
    initial.ExpectUniform(layer + ".attention.qkv.weight", std::sqrt(6.0 / (64 + 192)));
    initial.ExpectConstant(layer + ".attention.qkv.bias", 0);
    initial.ExpectUniform(layer + ".attention.proj.weight", 1 / std::sqrt(64.0));
    initial.ExpectConstant(layer + ".attention.proj.bias", 0);
    initial.ExpectUniform(layer + ".feed_forward.up.weight", 1 / std::sqrt(64.0));
    initial.ExpectUniform(layer + ".feed_forward.up.bias", 1 / std::sqrt(64.0));
    initial.ExpectUniform(layer + ".feed_forward.down.weight", 1 / std::sqrt(192.0));
    initial.ExpectUniform(layer + ".feed_forward.down.bias", 1 / std::sqrt(192.0));
    for (const std::string norm : {".norm1", ".norm2"}) {
      initial.ExpectConstant(layer + norm + ".weight", 1);
      initial.ExpectConstant(layer + norm + ".bias", 0);
    }
  }
  initial.ExpectUniform("head.weight", 1 / std::sqrt(64.0));
}

TEST(InitialiseTest, ConvolutionsStartLikePyTorchsFromWhatOneKernelSees) {
  SampleModel sample;
  v1::Layer::Convolution& convolution = *sample.spec.mutable_sequential()->add_layers()->mutable_conv2d();
  convolution.set_out(64);
  convolution.set_kernel(5);
  convolution.set_stride(1);
  convolution.set_groups(2);
  convolution.set_bias(true);
  v1::Layer::BatchNorm& norm = *sample.spec.mutable_sequential()->add_layers()->mutable_batch_norm2d();
  norm.set_epsilon(1e-5);
  norm.set_momentum(0.1);
  sample.spec.mutable_sequential()->add_layers()->mutable_flatten();
  sample.spec.mutable_sequential()->add_layers()->mutable_linear()->set_bias(true);
  sample.sample = {.features = {8, 6, 6}, .classes = 32};
  const Initial initial(sample);
  initial.ExpectUniform("layers.0.weight", 1 / std::sqrt(4 * 25.0));
  initial.ExpectUniform("layers.0.bias", 1 / std::sqrt(4 * 25.0));
  initial.ExpectConstant("layers.1.weight", 1);
  initial.ExpectConstant("layers.1.bias", 0);
  initial.ExpectUniform("layers.3.weight", 1 / std::sqrt(64 * 4.0));
}

TEST(InitialiseTest, EmbeddingsOfLayersStartLikeGpt2s) {
  SampleModel sample;
  v1::Layer::Embedding& embedding = *sample.spec.mutable_sequential()->add_layers()->mutable_embedding();
  embedding.set_width(32);
  embedding.set_context(100);
  embedding.set_vocabulary(300);
  embedding.set_positions(true);
  sample.spec.mutable_sequential()->add_layers()->mutable_linear();
  sample.sample.classes = 300;
  const Initial initial(sample);
  initial.ExpectNormal("layers.0.weight", 0.02);
  initial.ExpectNormal("layers.0.positions", 0.02);
}

TEST(InitialiseTest, AGptStartsLikeGpt2) {
  const Initial initial(SampleGpt(8, 32, 4, 50, 300));
  initial.ExpectNormal("token_embedding.weight", 0.02);
  initial.ExpectNormal("position_embedding.weight", 0.02);
  const double into_residual = 0.02 / 4;  // sqrt of two projections in each of eight blocks
  for (const std::string block : {"blocks.0", "blocks.7"}) {
    initial.ExpectNormal(block + ".attention.qkv.weight", 0.02);
    initial.ExpectNormal(block + ".attention.proj.weight", into_residual);
    initial.ExpectNormal(block + ".feed_forward.up.weight", 0.02);
    initial.ExpectNormal(block + ".feed_forward.down.weight", into_residual);
    for (const std::string bias : {".attention.qkv", ".attention.proj", ".feed_forward.up", ".feed_forward.down"}) {
      initial.ExpectConstant(block + bias + ".bias", 0);
    }
    initial.ExpectConstant(block + ".norm1.weight", 1);
    initial.ExpectConstant(block + ".norm2.bias", 0);
  }
  initial.ExpectConstant("norm.weight", 1);
  initial.ExpectConstant("norm.bias", 0);
}

TEST(InitialiseTest, EqualSeedsGiveEqualModelsAndOthersDoNot) {
  for (const SampleModel& sample :
       {SampleMlp({8}, {4}, 3), SampleEncoder(1, 8, 2, {3, 5}, 4), SampleGpt(1, 8, 2, 4, 11)}) {
    const std::unique_ptr<Model> first = sample.Build(1), again = sample.Build(1), other = sample.Build(2);
    EXPECT_TRUE(at::equal(first->parameters().values(), again->parameters().values()));
    EXPECT_FALSE(at::equal(first->parameters().values(), other->parameters().values()));
  }
}

TEST(InitialiseTest, LayersOfOneShapeStartFromDifferentDraws) {
  const std::unique_ptr<Model> model = SampleMlp({16, 16, 16}, {16}, 16).Build();
  const ParameterBuffer& parameters = model->parameters();
  EXPECT_FALSE(at::equal(parameters.at("layers.0.weight"), parameters.at("layers.1.weight")));
  EXPECT_FALSE(at::equal(parameters.at("layers.1.weight"), parameters.at("layers.2.weight")));
  EXPECT_FALSE(at::equal(parameters.at("layers.0.bias"), parameters.at("layers.1.bias")));
}

}  // namespace
}  // namespace mantissa::trainer
