// Every dropout of a forward pass draws its own elements. Weights are set so that what a dropout kept can be read off
// the logits: with independent draws an element meets every combination of kept and dropped, with one draw for all
// only two.
#include <string>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "tests/unit/models/sample_models.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kWidth = 64;

void Set(Model& model, const std::string& name, const at::Tensor& value) {
  const c10::AutoGradMode off(false);
  model.parameters().at(name).copy_(value);
}

// Distinct values in one row of logits, rounded so that the last bits of sums do not count.
std::int64_t Levels(Model& model, const at::Tensor& input) {
  const PrecisionPolicy policy(v1::PrecisionSpec::FP32);
  const at::Tensor logits = model.Forward(input, {.policy = policy, .key = {.seed = 6}}).detach();
  return std::get<0>(at::_unique((logits[0] * 1000).round())).numel();
}

TEST(DropoutSitesTest, LayersOfAnMlpDropDifferentElements) {
  const std::unique_ptr<Model> model = SampleMlp({kWidth, kWidth}, {kWidth}, kWidth, v1::Activation::RELU, 0.5).Build();
  model->parameters().values().zero_();
  for (const std::string name : {"layers.0", "layers.1", "head"}) Set(*model, name + ".weight", at::eye(kWidth));
  const PrecisionPolicy policy(v1::PrecisionSpec::FP32);
  const at::Tensor logits = model->Forward(at::ones({1, kWidth}), {.policy = policy, .key = {.seed = 6}}).detach();
  // Kept by both: about 16 of 64. With one draw for both it would be 32; 5 standard deviations are 17.
  const std::int64_t kept = logits.ne(0).sum().item<std::int64_t>();
  EXPECT_GT(kept, 4);
  EXPECT_LT(kept, 29);
}

TEST(DropoutSitesTest, AttentionAndFeedForwardOfAnEncoderDropDifferentElements) {
  const std::unique_ptr<Model> model = SampleEncoder(1, kWidth, 4, {kWidth}, kWidth, v1::Activation::RELU, 0.5).Build();
  model->parameters().values().zero_();
  // The two parts give ones, whatever they read.
  Set(*model, "layers.0.attention.proj.bias", at::ones({kWidth}));
  Set(*model, "layers.0.feed_forward.down.bias", at::ones({kWidth}));
  Set(*model, "layers.0.norm1.weight", at::ones({kWidth}));
  Set(*model, "layers.0.norm2.weight", at::ones({kWidth}));
  Set(*model, "head.weight", at::eye(kWidth));
  EXPECT_EQ(Levels(*model, at::zeros({1, kWidth})), 4);
}

TEST(DropoutSitesTest, EveryPartOfAGptDropsDifferentElements) {
  const std::unique_ptr<Model> model = SampleGpt(1, kWidth, 4, 1, kWidth, 0.5).Build();
  model->parameters().values().zero_();
  // Embeddings give ones, attention twos and the feed-forward part fours, so that a sum tells who was kept.
  Set(*model, "position_embedding.weight", at::ones({1, kWidth}));
  Set(*model, "blocks.0.attention.proj.bias", at::full({kWidth}, 2.0));
  Set(*model, "blocks.0.feed_forward.down.bias", at::full({kWidth}, 4.0));
  Set(*model, "norm.weight", at::ones({kWidth}));
  // The head is the identity through the token embedding, small enough that the token's own 1e-6 stays below rounding.
  Set(*model, "token_embedding.weight", at::eye(kWidth) * 1e-6);
  const PrecisionPolicy policy(v1::PrecisionSpec::FP32);
  const at::Tensor logits =
      model->Forward(at::zeros({1, 1}, at::kLong), {.policy = policy, .key = {.seed = 6}}).detach();
  EXPECT_EQ(std::get<0>(at::_unique((logits[0] * 1e9).round())).numel(), 8);
}

}  // namespace
}  // namespace mantissa::trainer
