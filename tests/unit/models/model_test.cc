#include "worker/models/model.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/models/sample_models.h"
#include "worker/models/gpt.h"
#include "worker/models/mlp.h"
#include "worker/models/transformer_encoder.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;
using Sizes = std::vector<std::int64_t>;

at::Tensor Logits(Model& model, const at::Tensor& input, Mode::Mode mode = Mode::FP32, bool training = false,
                  const RandomKey& key = {}) {
  const PrecisionPolicy policy(mode);
  return model.Forward(input, {.policy = policy, .key = key, .training = training}).detach();
}

// `name (sizes)` of every parameter, in order.
std::vector<std::string> Listed(const Model& model) {
  std::vector<std::string> list;
  for (const Parameter& parameter : model.parameters().parameters()) {
    std::string line = parameter.shape.path + " (";
    for (const std::int64_t size : parameter.value.sizes()) line += std::to_string(size) + " ";
    line.back() = ')';
    list.push_back(line);
  }
  return list;
}

TEST(ModelTest, AnMlpHasALinearLayerPerWidthAndAHead) {
  EXPECT_EQ(Listed(*SampleMlp({8, 5}, {2, 3}, 4).Build()),
            (std::vector<std::string>{"layers.0.weight (8 6)", "layers.0.bias (8)", "layers.1.weight (5 8)",
                                      "layers.1.bias (5)", "head.weight (4 5)", "head.bias (4)"}));
  EXPECT_EQ(Listed(*SampleMlp({}, {6}, 4).Build()), (std::vector<std::string>{"head.weight (4 6)", "head.bias (4)"}));
}

TEST(ModelTest, AnEncoderProjectsItsInputOnlyWhereTheWidthDiffers) {
  const std::vector<std::string> layer = {"layers.0.attention.qkv.weight (24 8)",
                                          "layers.0.attention.qkv.bias (24)",
                                          "layers.0.attention.proj.weight (8 8)",
                                          "layers.0.attention.proj.bias (8)",
                                          "layers.0.norm1.weight (8)",
                                          "layers.0.norm1.bias (8)",
                                          "layers.0.feed_forward.up.weight (24 8)",
                                          "layers.0.feed_forward.up.bias (24)",
                                          "layers.0.feed_forward.down.weight (8 24)",
                                          "layers.0.feed_forward.down.bias (8)",
                                          "layers.0.norm2.weight (8)",
                                          "layers.0.norm2.bias (8)",
                                          "head.weight (4 8)",
                                          "head.bias (4)"};
  EXPECT_EQ(Listed(*SampleEncoder(1, 8, 2, {5, 8}, 4).Build()), layer);
  std::vector<std::string> projected = {"input.weight (8 7)", "input.bias (8)"};
  projected.insert(projected.end(), layer.begin(), layer.end());
  EXPECT_EQ(Listed(*SampleEncoder(1, 8, 2, {5, 7}, 4).Build()), projected);
}

TEST(ModelTest, AGptTiesItsHeadToTheTokenEmbedding) {
  EXPECT_EQ(Listed(*SampleGpt(1, 8, 2, 6, 11).Build()),
            (std::vector<std::string>{
                "token_embedding.weight (11 8)", "position_embedding.weight (6 8)", "blocks.0.norm1.weight (8)",
                "blocks.0.norm1.bias (8)", "blocks.0.attention.qkv.weight (24 8)", "blocks.0.attention.qkv.bias (24)",
                "blocks.0.attention.proj.weight (8 8)", "blocks.0.attention.proj.bias (8)", "blocks.0.norm2.weight (8)",
                "blocks.0.norm2.bias (8)", "blocks.0.feed_forward.up.weight (32 8)",
                "blocks.0.feed_forward.up.bias (32)", "blocks.0.feed_forward.down.weight (8 32)",
                "blocks.0.feed_forward.down.bias (8)", "norm.weight (8)", "norm.bias (8)"}));
}

TEST(ModelTest, ParametersAreThoseOfTheSpecInItsOrderAtEverySize) {
  std::vector<SampleModel> samples = {SampleMlp({}, {3}, 2), SampleMlp({7, 1, 9}, {4, 5}, 10)};
  for (const int layers : {1, 2, 5}) {
    for (const int width : {4, 12, 32}) {
      samples.push_back(SampleEncoder(layers, width, 2, {3, 12}, 7));
      samples.push_back(SampleGpt(layers, width, 4, 5, 17));
    }
  }
  for (const SampleModel& sample : samples) {
    SCOPED_TRACE(sample.spec.ShortDebugString());
    const std::vector<spec::Parameter> expected = spec::ModelParameters(sample.spec, sample.sample);
    const std::unique_ptr<Model> model = sample.Build();
    const std::vector<Parameter>& parameters = model->parameters().parameters();
    ASSERT_EQ(parameters.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(parameters[i].shape.path, expected[i].path);
      EXPECT_EQ(parameters[i].value.sizes(), at::IntArrayRef(expected[i].shape));
      EXPECT_EQ(parameters[i].shape.kind, expected[i].kind);
    }
    EXPECT_EQ(model->parameters().count(), spec::ParameterCount(expected));
    EXPECT_TRUE(model->buffers().empty());
  }
}

TEST(ModelTest, EveryParameterTakesPartAndGetsAGradient) {
  at::manual_seed(3);
  for (const SampleModel& sample :
       {SampleMlp({8, 5}, {6}, 4), SampleEncoder(2, 8, 2, {5, 7}, 4), SampleGpt(2, 8, 2, 6, 11)}) {
    const std::unique_ptr<Model> model = sample.Build();
    const PrecisionPolicy policy(Mode::FP32);
    const at::Tensor logits = model->Forward(sample.Input(6), {.policy = policy, .key = {}});
    policy.CrossEntropy(logits, at::randint(0, sample.classes(), {logits.size(0)}, at::kLong)).backward();
    for (const Parameter& parameter : model->parameters().parameters()) {
      EXPECT_GT(parameter.value.grad().abs().max().item<float>(), 0) << parameter.shape.path;
    }
  }
}

TEST(ModelTest, LogitsHaveARowPerSampleOrTokenInTheComputeType) {
  for (const Mode::Mode mode : {Mode::FP32, Mode::BF16, Mode::FP16}) {
    const at::ScalarType type = PrecisionPolicy(mode).compute_type();
    for (const std::int64_t batch : {1, 3}) {
      for (const SampleModel& sample : {SampleMlp({8}, {6}, 4), SampleMlp({8}, {2, 3}, 4), SampleMlp({}, {6}, 4),
                                        SampleEncoder(1, 8, 2, {5, 7}, 4), SampleEncoder(2, 8, 4, {8}, 4)}) {
        const at::Tensor logits = Logits(*sample.Build(), sample.Input(batch), mode);
        EXPECT_EQ(logits.sizes(), at::IntArrayRef({batch, 4}));
        EXPECT_EQ(logits.scalar_type(), type);
      }
      const SampleModel gpt = SampleGpt(2, 8, 2, 6, 11);
      const at::Tensor logits = Logits(*gpt.Build(), gpt.Input(batch), mode);
      EXPECT_EQ(logits.sizes(), at::IntArrayRef({batch * 6, 11}));
      EXPECT_EQ(logits.scalar_type(), type);
    }
  }
}

TEST(ModelTest, AnMlpReadsASequenceAsItsElementsInARow) {
  const SampleModel sample = SampleMlp({8}, {2, 3}, 4);
  const std::unique_ptr<Model> model = sample.Build();
  const at::Tensor input = sample.Input(5);
  EXPECT_TRUE(at::equal(Logits(*model, input), Logits(*model, input.view({5, 6}))));
}

TEST(ModelTest, AnEncoderReadsAVectorAsOnePosition) {
  const SampleModel sample = SampleEncoder(1, 8, 2, {6}, 4);
  const std::unique_ptr<Model> model = sample.Build();
  const at::Tensor input = sample.Input(5);
  EXPECT_TRUE(at::equal(Logits(*model, input), Logits(*model, input.view({5, 1, 6}))));
}

TEST(ModelTest, AGptTakesShorterSequencesAndRefusesLongerOnesByTheirLength) {
  const SampleModel sample = SampleGpt(1, 8, 2, 6, 11);
  const std::unique_ptr<Model> model = sample.Build();
  EXPECT_EQ(Logits(*model, at::zeros({2, 1}, at::kLong)).sizes(), at::IntArrayRef({2, 11}));
  EXPECT_EQ(Logits(*model, at::zeros({2, 6}, at::kLong)).sizes(), at::IntArrayRef({12, 11}));
  try {
    Logits(*model, at::zeros({2, 7}, at::kLong));
    ADD_FAILURE() << "7 tokens were taken";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("a sequence of 7 tokens, and a context of 6"), std::string::npos);
  }
}

TEST(ModelTest, InAGptLaterTokensNeverReachEarlierLogits) {
  const SampleModel sample = SampleGpt(2, 16, 4, 8, 23);
  const std::unique_ptr<Model> model = sample.Build();
  at::manual_seed(4);
  const at::Tensor tokens = sample.Input(3);
  for (const Mode::Mode mode : {Mode::FP32, Mode::BF16, Mode::FP16}) {
    const at::Tensor before = Logits(*model, tokens, mode).view({3, 8, 23});
    for (std::int64_t changed = 0; changed < 8; ++changed) {
      at::Tensor other = tokens.clone();
      other.select(1, changed).add_(1).remainder_(23);
      const at::Tensor after = Logits(*model, other, mode).view({3, 8, 23});
      EXPECT_TRUE(at::equal(after.narrow(1, 0, changed), before.narrow(1, 0, changed))) << changed;
      EXPECT_FALSE(at::equal(after.select(1, changed), before.select(1, changed))) << changed;
    }
  }
}

TEST(ModelTest, AGptKnowsWhereATokenStandsAndWhatCameBeforeIt) {
  const std::unique_ptr<Model> model = SampleGpt(1, 16, 4, 8, 23).Build();
  // The same token all along: without positions all rows would be equal.
  const at::Tensor rows = Logits(*model, at::full({1, 8}, 5, at::kLong));
  EXPECT_FALSE(at::equal(rows[0], rows[7]));
  const at::Tensor one = at::tensor({std::int64_t{1}, std::int64_t{5}}).view({1, 2});
  const at::Tensor two = at::tensor({std::int64_t{2}, std::int64_t{5}}).view({1, 2});
  EXPECT_FALSE(at::equal(Logits(*model, one)[1], Logits(*model, two)[1]));
}

TEST(ModelTest, TheSpecsKindDecides) {
  EXPECT_NE(dynamic_cast<Mlp*>(SampleMlp({8}, {4}, 2).Build().get()), nullptr);
  EXPECT_NE(dynamic_cast<TransformerEncoder*>(SampleEncoder(1, 8, 2, {3, 8}, 2).Build().get()), nullptr);
  EXPECT_NE(dynamic_cast<Gpt*>(SampleGpt(1, 8, 2, 4, 7).Build().get()), nullptr);
  EXPECT_THROW(BuildModel(v1::Model(), {}, 1, at::kCPU), c10::Error);
}

std::vector<SampleModel> WithDropout(double dropout) {
  return {SampleMlp({32, 32}, {16}, 4, v1::Activation::RELU, dropout),
          SampleEncoder(2, 16, 2, {5, 16}, 4, v1::Activation::RELU, dropout), SampleGpt(2, 16, 2, 6, 11, dropout)};
}

TEST(ModelTest, DropoutIsOffInEvaluation) {
  for (std::size_t i = 0; i < 3; ++i) {
    const SampleModel dropping = WithDropout(0.5)[i];
    const at::Tensor input = dropping.Input(4);
    const std::unique_ptr<Model> model = dropping.Build(), without = WithDropout(0)[i].Build();
    const at::Tensor expected = Logits(*without, input);
    EXPECT_TRUE(at::equal(Logits(*model, input), expected)) << i;
    EXPECT_TRUE(at::equal(Logits(*without, input, Mode::FP32, /*training=*/true), expected)) << i;
    EXPECT_FALSE(at::equal(Logits(*model, input, Mode::FP32, /*training=*/true), expected)) << i;
  }
}

TEST(ModelTest, EqualKeysDropTheSameAndOthersDoNot) {
  for (const SampleModel& sample : WithDropout(0.5)) {
    const std::unique_ptr<Model> model = sample.Build();
    const at::Tensor input = sample.Input(4);
    const auto logits = [&](const RandomKey& key) { return Logits(*model, input, Mode::FP32, true, key); };
    EXPECT_TRUE(at::equal(logits({1, 2, 3}), logits({1, 2, 3})));
    for (const RandomKey& other : {RandomKey{9, 2, 3}, RandomKey{1, 9, 3}, RandomKey{1, 2, 9}}) {
      EXPECT_FALSE(at::equal(logits({1, 2, 3}), logits(other)));
    }
  }
}

}  // namespace
}  // namespace mantissa::trainer
