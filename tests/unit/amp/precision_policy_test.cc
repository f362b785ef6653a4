#include "worker/amp/precision_policy.h"

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "proto/spec/precision_table.h"
#include "tests/unit/amp/attention_in_double.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;

at::ScalarType TypeOf(spec::NumberFormat format) {
  switch (format) {
    case spec::NumberFormat::kFloat16:
      return at::kHalf;
    case spec::NumberFormat::kBfloat16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

// From 1 to the next number.
double UnitOf(at::ScalarType type) { return type == at::kFloat ? 0x1p-23 : type == at::kHalf ? 0x1p-10 : 0x1p-7; }

at::Tensor Rounded(const at::Tensor& x, at::ScalarType type) { return x.detach().to(type).to(at::kDouble); }

double WorstError(const at::Tensor& got, const at::Tensor& want) {
  return (got.detach().to(at::kDouble) - want.detach()).abs().max().item<double>();
}

at::Tensor Leaf(const at::Tensor& values) {
  const at::Tensor leaf = values.detach().clone().requires_grad_(true);
  leaf.mutable_grad() = at::zeros_like(leaf);
  return leaf;
}

std::string MessageOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

class PrecisionPolicyTest : public testing::TestWithParam<Mode::Mode> {
 protected:
  void SetUp() override { at::manual_seed(31); }

  const PrecisionPolicy policy_{GetParam()};
  const at::ScalarType type_ = policy_.compute_type();
};

TEST_P(PrecisionPolicyTest, EveryResultHasTheTypeOfThePrecisionTable) {
  const auto output = [](spec::OpClass op) { return TypeOf(spec::PrecisionOf(op, GetParam()).output); };
  EXPECT_EQ(policy_.mode(), GetParam());
  EXPECT_EQ(type_, TypeOf(spec::ComputeFormat(GetParam())));
  const at::Tensor weight = at::randn({5, 8});
  const at::Tensor ones = at::ones({8}), zeros = at::zeros({8});
  for (const at::ScalarType from : {at::kFloat, type_}) {
    const at::Tensor x = at::randn({2, 3, 8}).to(from);
    EXPECT_EQ(policy_.Linear(x, weight, at::Tensor()).scalar_type(), output(spec::OpClass::kMatmul));
    EXPECT_EQ(policy_.Attention(at::randn({2, 3, 24}).to(from), 2, true).scalar_type(),
              output(spec::OpClass::kAttention));
    EXPECT_EQ(policy_.LayerNorm(x, ones, zeros).scalar_type(), output(spec::OpClass::kNorm));
    EXPECT_EQ(policy_.CrossEntropy(x[0], at::zeros({3}, at::kLong)).scalar_type(), output(spec::OpClass::kLoss));
    // Elementwise ops follow their operands.
    EXPECT_EQ(policy_.Dropout(x, 0.5, RandomKey(), 0).scalar_type(), from);
    EXPECT_EQ(policy_.Add(x, x).scalar_type(), from);
    EXPECT_EQ(policy_.Add(x, at::ones({8})).scalar_type(), at::kFloat);
    EXPECT_EQ(policy_.Add(at::ones({8}), x).scalar_type(), at::kFloat);
  }
  EXPECT_EQ(policy_.Embedding(weight, at::zeros({2}, at::kLong)).scalar_type(), output(spec::OpClass::kEmbedding));
}

TEST_P(PrecisionPolicyTest, LinearTakesABiasOrNoneAndEachActivation) {
  const at::Tensor x = at::randn({4, 6}), weight = at::randn({3, 6}), bias = at::randn({3});
  const at::Tensor product = Rounded(x, type_).mm(Rounded(weight, type_).t()) + Rounded(bias, type_);
  const at::Tensor z = Rounded(product, type_);
  // A result below 8 may round the other way where a sum of six products is near a halfway point: one unit there.
  const double tolerance = UnitOf(type_) * 8;
  EXPECT_LE(WorstError(policy_.Linear(x, weight, bias), z), tolerance);
  EXPECT_LE(WorstError(policy_.Linear(x, weight, bias, Activation::kRelu), at::relu(z)), tolerance);
  EXPECT_LE(WorstError(policy_.Linear(x, weight, bias, Activation::kGelu), at::gelu(z, "tanh")), tolerance);
  EXPECT_LE(WorstError(policy_.Linear(x, weight, bias, Activation::kTanh), at::tanh(z)), tolerance);
  const at::Tensor without = Rounded(x, type_).mm(Rounded(weight, type_).t());
  EXPECT_LE(WorstError(policy_.Linear(x, weight, at::Tensor()), without), tolerance);
}

TEST_P(PrecisionPolicyTest, LayerNormIsFp32InsideAndReadsTheOperandExactly) {
  const at::Tensor weight = Leaf(at::randn({32})), bias = Leaf(at::randn({32}));
  const at::Tensor x = (at::randn({3, 5, 32}) * 3 + 1).to(type_).requires_grad_(true);
  const at::Tensor y = policy_.LayerNorm(x, weight, bias);
  const at::Tensor incoming = at::randn({3, 5, 32});
  y.backward(incoming);

  const at::Tensor x64 = x.detach().to(at::kDouble).requires_grad_(true);
  const at::Tensor weight64 = weight.detach().to(at::kDouble).requires_grad_(true);
  const at::Tensor bias64 = bias.detach().to(at::kDouble).requires_grad_(true);
  const at::Tensor centred = x64 - x64.mean(-1, true);
  const at::Tensor reference = centred / (centred.square().mean(-1, true) + 1e-5).sqrt() * weight64 + bias64;
  reference.backward(incoming.to(at::kDouble));
  // Values up to about 10 with FP32 sums of 32: a few units of 2^-23 x 10.
  EXPECT_LE(WorstError(y, reference), 1e-5);
  EXPECT_LE(WorstError(weight.grad(), weight64.grad()), 2e-5);
  EXPECT_LE(WorstError(bias.grad(), bias64.grad()), 2e-5);
  // The gradient comes back in the operand's type.
  EXPECT_EQ(x.grad().scalar_type(), type_);
  EXPECT_LE(WorstError(x.grad(), x64.grad()), 1e-5 + 0.51 * UnitOf(type_) * x64.grad().abs().max().item<double>());
}

TEST_P(PrecisionPolicyTest, TheEpsilonOfANormCanBeSet) {
  const at::Tensor x = at::tensor({1e-3f, -1e-3f});
  const at::Tensor one = at::ones({2}), zero = at::zeros({2});
  EXPECT_NEAR(policy_.LayerNorm(x.to(type_).to(at::kFloat), one, zero, 0).abs().max().item<double>(), 1, 1e-6);
  EXPECT_NEAR(policy_.LayerNorm(x, one, zero, 1).abs().max().item<double>(), 1e-3, 1e-5);
}

TEST_P(PrecisionPolicyTest, AttentionAgreesWithItsDefinitionInDouble) {
  for (const bool causal : {false, true}) {
    for (const std::int64_t heads : {1, 2, 4}) {
      for (const std::int64_t time : {1, 7, 65}) {
        const at::Tensor qkv = at::randn({2, time, 3 * 16}).requires_grad_(true);
        const at::Tensor incoming = at::randn({2, time, 16}).to(type_);
        const at::Tensor y = policy_.Attention(qkv, heads, causal);
        y.backward(incoming);
        const at::Tensor exact = Rounded(qkv, type_).requires_grad_(true);
        const at::Tensor reference = AttentionInDouble(exact, heads, causal);
        reference.backward(incoming.to(at::kDouble));
        SCOPED_TRACE(testing::Message() << "causal " << causal << ", heads " << heads << ", time " << time);
        const double largest = reference.abs().max().item<double>();
        const double largest_gradient = exact.grad().abs().max().item<double>();
        if (type_ == at::kBFloat16) {
          // The library keeps probabilities in BF16 as well: half a unit each for them, for the result and for the
          // rounding of a sum, and in backward for the gradients of scores and probabilities too.
          EXPECT_LE(WorstError(y, reference), 2 * UnitOf(type_) * largest);
          EXPECT_LE(WorstError(qkv.grad(), exact.grad()), 2 * UnitOf(type_) * largest_gradient);
        } else {
          // FP32 inside; a few units of it for exponentials and sums, and half a unit of FP16 for its one rounding.
          const double rounding = type_ == at::kHalf ? 0.51 * UnitOf(type_) : 0;
          EXPECT_LE(WorstError(y, reference), (4e-6 + rounding) * largest);
          EXPECT_LE(WorstError(qkv.grad(), exact.grad()), (4e-6 + rounding) * largest_gradient);
        }
      }
    }
  }
}

TEST_P(PrecisionPolicyTest, CausalAttentionNeverSeesALaterPosition) {
  const at::Tensor qkv = at::randn({2, 9, 24});
  at::Tensor changed = qkv.clone();
  changed.narrow(1, 6, 3).mul_(-3);
  const at::Tensor before = policy_.Attention(qkv, 2, true), after = policy_.Attention(changed, 2, true);
  EXPECT_TRUE(at::equal(before.narrow(1, 0, 6), after.narrow(1, 0, 6)));
  EXPECT_FALSE(at::equal(before.narrow(1, 6, 3), after.narrow(1, 6, 3)));
  // Without the mask the first position sees them.
  EXPECT_FALSE(
      at::equal(policy_.Attention(qkv, 2, false).select(1, 0), policy_.Attention(changed, 2, false).select(1, 0)));
}

TEST_P(PrecisionPolicyTest, ASampleDoesNotDependOnItsNeighbours) {
  const at::Tensor qkv = at::randn({3, 10, 24});
  for (const bool causal : {false, true}) {
    const at::Tensor together = policy_.Attention(qkv, 2, causal);
    EXPECT_TRUE(at::equal(together.narrow(0, 1, 1), policy_.Attention(qkv.narrow(0, 1, 1), 2, causal)));
  }
  const at::Tensor weight = at::randn({24}), bias = at::randn({24});
  const at::Tensor x = at::randn({7, 24}).to(type_);
  EXPECT_TRUE(at::equal(policy_.LayerNorm(x, weight, bias)[4], policy_.LayerNorm(x[4], weight, bias)));
}

TEST_P(PrecisionPolicyTest, EmbeddingLooksUpRowsAndAddsTheirGradients) {
  const at::Tensor weight = Leaf(at::randn({6, 4}));
  const at::Tensor tokens =
      at::tensor({std::int64_t{5}, std::int64_t{0}, std::int64_t{5}, std::int64_t{2}}).view({2, 2});
  const at::Tensor x = policy_.Embedding(weight, tokens);
  EXPECT_EQ(x.sizes(), at::IntArrayRef({2, 2, 4}));
  EXPECT_TRUE(at::equal(x[1][0], weight[5]));
  EXPECT_TRUE(at::equal(x[0][1], weight[0]));
  x.backward(at::ones({2, 2, 4}));
  const at::Tensor rows = weight.grad().sum(1);
  EXPECT_TRUE(at::equal(rows, at::tensor({4.f, 0.f, 4.f, 0.f, 0.f, 8.f})));
}

TEST_P(PrecisionPolicyTest, GradientsAreAddedIntoTheGradThatWasThere) {
  const at::Tensor table = Leaf(at::randn({6, 8})), weight = Leaf(at::randn({5, 8})), bias = Leaf(at::randn({5}));
  const at::Tensor norm_weight = Leaf(at::ones({8})), norm_bias = Leaf(at::zeros({8}));
  const at::Tensor tokens = at::randint(0, 6, {4}, at::kLong), targets = at::randint(0, 5, {4}, at::kLong);
  const std::vector<at::Tensor> parameters = {table, weight, bias, norm_weight, norm_bias};
  const auto backward = [&] {
    const at::Tensor x = policy_.LayerNorm(policy_.Embedding(table, tokens), norm_weight, norm_bias);
    policy_.CrossEntropy(policy_.Linear(x, weight, bias), targets).backward();
  };
  std::vector<const void*> places;
  for (const at::Tensor& parameter : parameters) places.push_back(parameter.grad().const_data_ptr());
  backward();
  std::vector<at::Tensor> once;
  for (const at::Tensor& parameter : parameters) once.push_back(parameter.grad().clone());
  backward();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(parameters[i].grad().const_data_ptr(), places[i]) << i;
    EXPECT_EQ(parameters[i].grad().scalar_type(), at::kFloat);
    EXPECT_GT(once[i].abs().max().item<float>(), 0) << i;
    // Twice the gradient but for the order of the FP32 sums, which may begin at what was there.
    EXPECT_LE((parameters[i].grad() - once[i] * 2).abs().max().item<float>(), 1e-6f * once[i].abs().max().item<float>())
        << i;
  }
}

TEST_P(PrecisionPolicyTest, CrossEntropySumsOverValidTargetsInFp32) {
  const at::Tensor logits = (at::randn({5, 7}) * 2).to(type_);
  at::Tensor targets = at::randint(0, 7, {5}, at::kLong);
  targets[1] = PrecisionPolicy::kIgnored;
  targets[4] = PrecisionPolicy::kIgnored;
  const at::Tensor leaf = logits.detach().clone().requires_grad_(true);
  const at::Tensor loss = policy_.CrossEntropy(leaf, targets);
  loss.backward();
  const at::Tensor exact = logits.to(at::kDouble).requires_grad_(true);
  const at::Tensor log_probabilities = at::log_softmax(exact, -1);
  const at::Tensor reference =
      -(log_probabilities[0][targets[0].item<std::int64_t>()] + log_probabilities[2][targets[2].item<std::int64_t>()] +
        log_probabilities[3][targets[3].item<std::int64_t>()]);
  reference.backward();
  EXPECT_EQ(loss.dim(), 0);
  EXPECT_NEAR(loss.item<double>(), reference.item<double>(), 2e-6 * (1 + reference.item<double>()));
  EXPECT_LE(WorstError(leaf.grad(), exact.grad()), 2e-6 + 0.51 * UnitOf(type_));
  for (const std::int64_t ignored : {1, 4}) EXPECT_EQ(leaf.grad()[ignored].abs().max().item<float>(), 0);
}

TEST_P(PrecisionPolicyTest, DropoutOfNothingIsTheTensorItself) {
  const at::Tensor x = at::randn({4, 4}).to(type_);
  EXPECT_TRUE(policy_.Dropout(x, 0, RandomKey(), 3).is_same(x));
}

TEST_P(PrecisionPolicyTest, DropoutDrawsFromEachPartOfItsKeyAndItsSite) {
  const at::Tensor x = at::ones({512}, type_);
  const RandomKey key{.seed = 1, .iteration = 2, .micro_batch = 3};
  const at::Tensor first = policy_.Dropout(x, 0.5, key, 4);
  EXPECT_TRUE(at::equal(policy_.Dropout(x, 0.5, key, 4), first));
  EXPECT_FALSE(at::equal(policy_.Dropout(x, 0.5, key, 5), first));
  for (const RandomKey& other : {RandomKey{9, 2, 3}, RandomKey{1, 9, 3}, RandomKey{1, 2, 9}}) {
    EXPECT_FALSE(at::equal(policy_.Dropout(x, 0.5, other, 4), first));
  }
}

TEST_P(PrecisionPolicyTest, AnOverflowOfFp16BecomesInfAndTheWiderFormatsHoldIt) {
  const at::Tensor x = at::full({1, 4}, 200.0), weight = at::full({1, 4}, 200.0);  // 160,000
  EXPECT_EQ(std::isinf(policy_.Linear(x, weight, at::Tensor()).item<float>()), GetParam() == Mode::FP16);
  // An operand beyond FP16 is Inf before it is multiplied.
  const at::Tensor qkv = at::full({1, 2, 12}, 1e5);
  EXPECT_EQ(policy_.Attention(qkv, 1, false).isfinite().all().item<bool>(), GetParam() != Mode::FP16);
}

TEST_P(PrecisionPolicyTest, AWrongWidthOfQkvIsRefused) {
  const auto attend = [&](at::IntArrayRef sizes, std::int64_t heads) {
    return MessageOf([&] { policy_.Attention(at::zeros(sizes), heads, false); });
  };
  const std::string expected = "qkv must be (B, T, 3 d) with d a multiple of ";
  EXPECT_NE(attend({2, 3, 24}, 5).find(expected + "5"), std::string::npos);
  EXPECT_NE(attend({2, 3, 25}, 1).find(expected + "1"), std::string::npos);
  EXPECT_NE(attend({3, 24}, 2).find(expected + "2"), std::string::npos);
  EXPECT_EQ(attend({2, 3, 24}, 4), "");
}

INSTANTIATE_TEST_SUITE_P(Modes, PrecisionPolicyTest, testing::Values(Mode::FP32, Mode::BF16, Mode::FP16),
                         [](const auto& info) { return Mode::Mode_Name(info.param); });

TEST(PrecisionPolicyModeTest, AModeWithoutAComputeTypeIsRefused) {
  EXPECT_NE(MessageOf([&] { PrecisionPolicy policy(Mode::MODE_UNSPECIFIED); }).find("has no compute type"),
            std::string::npos);
}

TEST(PrecisionPolicyModeTest, ActivationsOfTheSpecAreTheOpsAndReluIsTheDefault) {
  EXPECT_EQ(ActivationFrom(v1::Activation::RELU), Activation::kRelu);
  EXPECT_EQ(ActivationFrom(v1::Activation::GELU), Activation::kGelu);
  EXPECT_EQ(ActivationFrom(v1::Activation::TANH), Activation::kTanh);
  EXPECT_EQ(ActivationFrom(v1::Activation::ACTIVATION_UNSPECIFIED), Activation::kRelu);
}

}  // namespace
}  // namespace mantissa::trainer
