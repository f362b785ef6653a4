#include "worker/models/parameter_buffer.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {
namespace {

// Sizes around the alignment and the chunk: 16 exactly, less, more than one chunk, and two chunks exactly.
std::vector<spec::Parameter> Shapes() {
  return {{"a.weight", {4, 4}, spec::ParameterKind::kWeight},
          {"a.bias", {3}, spec::ParameterKind::kBias},
          {"norm.weight", {17}, spec::ParameterKind::kNorm},
          {"norm.bias", {17}, spec::ParameterKind::kNorm},
          {"table.weight", {257, 300}, spec::ParameterKind::kEmbedding},
          {"b.weight", {256, 512}, spec::ParameterKind::kWeight},
          {"b.bias", {1}, spec::ParameterKind::kBias}};
}

std::vector<Chunk> ChunksOf(const ParameterBuffer& buffer) {
  const Chunk* const rows = reinterpret_cast<const Chunk*>(buffer.chunks().const_data_ptr<std::int64_t>());
  return {rows, rows + buffer.chunks().size(0)};
}

TEST(ParameterBufferTest, ParametersStandInTheirOrderEachAtA64ByteBoundary) {
  const ParameterBuffer buffer(Shapes(), at::kCPU);
  ASSERT_EQ(buffer.parameters().size(), Shapes().size());
  std::int64_t end = 0;
  for (std::size_t i = 0; i < Shapes().size(); ++i) {
    const Parameter& parameter = buffer.parameters()[i];
    EXPECT_EQ(parameter.shape.path, Shapes()[i].path);
    EXPECT_EQ(parameter.value.sizes(), at::IntArrayRef(Shapes()[i].shape));
    EXPECT_EQ(parameter.offset % ParameterBuffer::kAlignment, 0);
    EXPECT_GE(parameter.offset, end);
    EXPECT_LT(parameter.offset - end, ParameterBuffer::kAlignment);  // no more padding than that takes
    end = parameter.offset + parameter.shape.elements();
  }
  EXPECT_GE(buffer.values().numel(), end);
  EXPECT_EQ(buffer.gradients().numel(), buffer.values().numel());
}

TEST(ParameterBufferTest, CountsWithoutPadding) {
  EXPECT_EQ(ParameterBuffer(Shapes(), at::kCPU).count(), 16 + 3 + 17 + 17 + 257 * 300 + 256 * 512 + 1);
  EXPECT_EQ(ParameterBuffer({}, at::kCPU).count(), 0);
  EXPECT_EQ(ParameterBuffer({}, at::kCPU).chunks().sizes(), at::IntArrayRef({0, 4}));
}

TEST(ParameterBufferTest, ChunksCoverEveryElementOfEveryParameterOnceAndNoPadding) {
  const ParameterBuffer buffer(Shapes(), at::kCPU);
  const at::Tensor covered = at::zeros_like(buffer.values());
  for (const Chunk& chunk : ChunksOf(buffer)) {
    EXPECT_GE(chunk.size, 1);
    EXPECT_LE(chunk.size, ParameterBuffer::kChunkSize);
    covered.narrow(0, chunk.begin, chunk.size).add_(1);
    const Parameter& owner = buffer.parameters()[static_cast<std::size_t>(chunk.parameter)];
    EXPECT_GE(chunk.begin, owner.offset);
    EXPECT_LE(chunk.begin + chunk.size, owner.offset + owner.shape.elements());
  }
  for (std::size_t i = 0; i < Shapes().size(); ++i) {
    EXPECT_TRUE(buffer.ViewOf(covered, i).eq(1).all().item<bool>()) << Shapes()[i].path;
    buffer.ViewOf(covered, i).zero_();
  }
  EXPECT_EQ(covered.abs().max().item<float>(), 0);
}

TEST(ParameterBufferTest, ChunksComeInOrderSoThatSumsOverThemDo) {
  const std::vector<Chunk> chunks = ChunksOf(ParameterBuffer(Shapes(), at::kCPU));
  ASSERT_EQ(chunks.size(), 9u);  // one each, and two of the two large ones
  for (std::size_t i = 1; i < chunks.size(); ++i) EXPECT_GT(chunks[i].begin, chunks[i - 1].begin);
}

TEST(ParameterBufferTest, ValuesAndGradientsAreViewsOfTheFlatBuffers) {
  const ParameterBuffer buffer(Shapes(), at::kCPU);
  EXPECT_EQ(buffer.values().abs().max().item<float>(), 0);
  EXPECT_EQ(buffer.gradients().abs().max().item<float>(), 0);
  for (std::size_t i = 0; i < Shapes().size(); ++i) {
    const Parameter& parameter = buffer.parameters()[i];
    EXPECT_TRUE(parameter.value.is_leaf());
    EXPECT_TRUE(parameter.value.requires_grad());
    EXPECT_FALSE(parameter.value.is_view());
    EXPECT_EQ(parameter.value.const_data_ptr<float>(), buffer.values().const_data_ptr<float>() + parameter.offset);
    EXPECT_EQ(parameter.value.grad().const_data_ptr<float>(),
              buffer.gradients().const_data_ptr<float>() + parameter.offset);
    EXPECT_EQ(parameter.value.grad().sizes(), parameter.value.sizes());
  }
}

TEST(ParameterBufferTest, BackwardAddsIntoTheFlatGradientsAndZeroingClearsThem) {
  ParameterBuffer buffer(Shapes(), at::kCPU);
  const at::Tensor& weight = buffer.at("a.weight");
  for (int pass = 1; pass <= 2; ++pass) {
    (weight * 3).sum().backward();
    EXPECT_TRUE(buffer.ViewOf(buffer.gradients(), 0).eq(3.0 * pass).all().item<bool>());
  }
  EXPECT_EQ(buffer.gradients().sum().item<float>(), 16 * 6);
  buffer.ZeroGradients();
  EXPECT_EQ(buffer.gradients().abs().max().item<float>(), 0);
  (weight * 3).sum().backward();
  EXPECT_EQ(buffer.gradients().sum().item<float>(), 16 * 3);
}

TEST(ParameterBufferTest, AViewHasTheParametersShapeAndPlaceInAnyBufferOfThisLayout) {
  const ParameterBuffer buffer(Shapes(), at::kCPU);
  const at::Tensor moments = at::arange(buffer.values().numel(), at::kFloat);
  const at::Tensor view = buffer.ViewOf(moments, 5);
  EXPECT_EQ(view.sizes(), at::IntArrayRef({256, 512}));
  EXPECT_EQ(view[0][0].item<float>(), static_cast<float>(buffer.parameters()[5].offset));
  EXPECT_EQ(view[1][2].item<float>(), static_cast<float>(buffer.parameters()[5].offset + 512 + 2));
}

TEST(ParameterBufferTest, ParametersAreFoundByName) {
  const ParameterBuffer buffer(Shapes(), at::kCPU);
  EXPECT_TRUE(buffer.at("b.bias").is_same(buffer.parameters()[6].value));
  const LinearParameters layer = buffer.LinearAt("b");
  EXPECT_TRUE(layer.weight.is_same(buffer.parameters()[5].value));
  EXPECT_TRUE(layer.bias.is_same(buffer.parameters()[6].value));
  EXPECT_THROW(buffer.at("b"), c10::Error);
  EXPECT_THROW(buffer.LinearAt("table"), c10::Error);  // it has no bias
}

// What products read, all of it.
WeightStorage AllLow(const ParameterBuffer& buffer, at::ScalarType low) {
  WeightStorage weights{low, {}};
  for (const Parameter& parameter : buffer.parameters()) {
    weights.parameters.push_back(spec::IsStoredLow(parameter.shape));
  }
  return weights;
}

TEST(StoredWeightsTest, WhatProductsReadIsKeptInTheLowFormatAndNothingElse) {
  for (const at::ScalarType low : {at::kHalf, at::kBFloat16}) {
    ParameterBuffer buffer(Shapes(), at::kCPU);
    at::manual_seed(4);
    buffer.values().copy_(at::randn(buffer.values().sizes()));
    EXPECT_FALSE(buffer.stored_weights().defined());
    EXPECT_FALSE(buffer.LinearAt("b").stored().weight.defined());
    const LinearParameters before = buffer.LinearAt("a");
    buffer.StoreWeights(AllLow(buffer, low));
    std::int64_t stored = 0;
    for (const Parameter& parameter : buffer.parameters()) {
      ASSERT_EQ(parameter.stored.defined(), spec::IsProductOperand(parameter.shape)) << parameter.shape.path;
      if (!parameter.stored.defined()) continue;
      stored += (parameter.shape.elements() + 15) / 16 * 16;
      EXPECT_TRUE(at::equal(parameter.stored, parameter.value.detach().to(low))) << parameter.shape.path;
      EXPECT_FALSE(parameter.stored.requires_grad());
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(parameter.stored.const_data_ptr()) % 16, 0u);
    }
    EXPECT_TRUE(buffer.LinearAt("b").stored().weight.is_same(buffer.parameters()[5].stored));
    EXPECT_TRUE(before.stored().weight.is_same(buffer.parameters()[0].stored));  // looked up before it was kept
    EXPECT_TRUE(buffer.TiedLinear("head", "b.weight").stored().weight.is_same(buffer.parameters()[5].stored));
    EXPECT_TRUE(buffer.TiedLinear("head", "b.weight").weight.is_same(buffer.parameters()[5].value));
    EXPECT_FALSE(buffer.TiedLinear("head", "b.weight").bias.defined());
    EXPECT_FALSE(buffer.parameters()[1].stored.defined());
    EXPECT_FALSE(buffer.LinearAt("a").stored().bias.defined());
    EXPECT_FALSE(buffer.parameters()[2].stored.defined());
    EXPECT_GE(stored, 16 + 256 * 512);
    EXPECT_EQ(buffer.stored_weights().numel(), stored);
  }
}

TEST(StoredWeightsTest, FollowTheValuesWhenTold) {
  ParameterBuffer buffer(Shapes(), at::kCPU);
  buffer.StoreWeights(AllLow(buffer, at::kBFloat16));
  buffer.values().fill_(3);
  EXPECT_EQ(buffer.parameters()[0].stored.max().item<float>(), 0);
  buffer.CastWeights();
  EXPECT_EQ(buffer.parameters()[0].stored.min().item<float>(), 3);
  EXPECT_EQ(buffer.parameters()[5].stored.min().item<float>(), 3);
}

// On a CPU every gradient is added to zeros.
TEST(ParameterBufferTest, AllGradientsAreZeroedInChunksPaddingIncluded) {
  ParameterBuffer buffer(Shapes(), at::kCPU);
  buffer.StoreWeights(AllLow(buffer, at::kBFloat16));
  const at::Tensor& zeroed = buffer.zeroed();
  std::int64_t end = 0;
  for (std::int64_t i = 0; i < zeroed.size(0); ++i) {
    EXPECT_EQ(zeroed[i][0].item<std::int64_t>(), end);
    EXPECT_LE(zeroed[i][1].item<std::int64_t>(), ParameterBuffer::kChunkSize);
    end += zeroed[i][1].item<std::int64_t>();
  }
  EXPECT_EQ(end, buffer.gradients().numel());
  buffer.AwaitFirstParts();
  buffer.gradients().fill_(3);
  buffer.ZeroMissingParts();
  EXPECT_EQ(buffer.gradients().min().item<float>(), 3);
  EXPECT_EQ(ParameterBuffer({}, at::kCPU).zeroed().size(0), 0);
}

TEST(StoredWeightsTest, WithoutAnyThereIsNothingToFollow) {
  ParameterBuffer buffer(Shapes(), at::kCPU);
  buffer.CastWeights();
  EXPECT_FALSE(buffer.stored_weights().defined());
  ParameterBuffer empty({}, at::kCPU);
  empty.StoreWeights({at::kHalf, {}});
  EXPECT_EQ(empty.stored_weights().numel(), 0);
}

}  // namespace
}  // namespace mantissa::trainer
