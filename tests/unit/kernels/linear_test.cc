#include <cmath>
#include <tuple>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

enum ActivationNumber : std::int64_t { kNone = 0, kRelu = 1, kGelu = 2, kTanh = 3 };

at::Tensor Activate(std::int64_t activation, const at::Tensor& z) {
  switch (activation) {
    case kRelu:
      return at::relu(z);
    case kGelu:
      return at::gelu(z, "tanh");
    case kTanh:
      return at::tanh(z);
    default:
      return z;
  }
}

struct Layer {
  Layer(std::int64_t in, std::int64_t out, bool with_bias) {
    weight = (at::randn({out, in}) / std::sqrt(static_cast<double>(in))).requires_grad_(true);
    weight.mutable_grad() = at::zeros({out, in});
    if (with_bias) {
      bias = at::randn({out}).requires_grad_(true);
      bias.mutable_grad() = at::zeros({out});
    }
  }
  at::Tensor weight;
  at::Tensor bias;
};

struct Gradients {
  at::Tensor y;
  at::Tensor x;
  at::Tensor weight;
  at::Tensor bias;
};

// The policy's meaning in double: operands rounded to `type`, exact products and sums, each result rounded once.
Gradients Reference(const at::Tensor& x, const Layer& layer, const at::Tensor& incoming, at::ScalarType type,
                    std::int64_t activation) {
  const auto rounded = [type](const at::Tensor& t) { return t.detach().to(type).to(at::kDouble); };
  const at::Tensor x2 = rounded(x).reshape({-1, x.size(-1)});
  const at::Tensor w = rounded(layer.weight);
  at::Tensor z = x2.mm(w.t());
  if (layer.bias.defined()) z = z + rounded(layer.bias);
  z = rounded(z).requires_grad_(true);
  const at::Tensor y = Activate(activation, z);
  // The derivative of tanh is read off the result that was kept, the rounded one.
  const at::Tensor dy = rounded(incoming).reshape(y.sizes());
  if (activation == kTanh) {
    z.mutable_grad() = dy * (1 - rounded(y) * rounded(y));
  } else {
    y.backward(dy);
  }
  const at::Tensor dz = rounded(z.grad());
  Gradients result;
  result.y = rounded(y).view(incoming.sizes());
  result.x = rounded(dz.mm(w)).view(x.sizes());
  result.weight = rounded(dz.t().mm(x2));
  if (layer.bias.defined()) result.bias = rounded(dz.sum(0));
  return result;
}

// One rounding more or less where FP32 sums lie near a halfway point: one unit in the last place of `type`. `carried`:
// what such a unit in an earlier result adds to a sum over it, as a share of the largest sum.
void ExpectWithinAnUlp(const at::Tensor& got, const at::Tensor& want, at::ScalarType type, double carried,
                       const char* what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  const double unit = type == at::kFloat ? 0x1p-20 : type == at::kHalf ? 0x1p-10 : 0x1p-7;
  const at::Tensor error = (got.to(at::kDouble) - want).abs();
  const at::Tensor allowed = want.abs() * unit + want.abs().max() * (0x1p-20 + carried * unit) + 1e-7;
  EXPECT_TRUE(error.le(allowed).all().item<bool>()) << what << ": " << error.max().item<double>();
}

double ShareOfEqual(const at::Tensor& got, const at::Tensor& want) {
  return got.to(at::kDouble).eq(want).to(at::kDouble).mean().item<double>();
}

class LinearTest : public testing::TestWithParam<std::tuple<at::ScalarType, std::int64_t, bool>> {};

TEST_P(LinearTest, ForwardAndBackwardAgreeWithTheExactLayerRoundedOnce) {
  const auto [type, activation, with_bias] = GetParam();
  at::manual_seed(5);
  const Layer layer(37, 21, with_bias);
  const at::Tensor x = at::randn({3, 9, 37}).requires_grad_(true);
  const at::Tensor y = OpLinear(x, layer.weight, layer.bias, type, activation);
  EXPECT_EQ(y.scalar_type(), type);
  const at::Tensor incoming = at::randn({3, 9, 21}).to(type);
  y.backward(incoming);
  const Gradients want = Reference(x, layer, incoming, type, activation);
  const double carried = activation == kNone || activation == kRelu ? 0 : 0.25;
  ExpectWithinAnUlp(y.detach(), want.y, type, 0, "y");
  ExpectWithinAnUlp(x.grad(), want.x, type, carried, "dx");
  ExpectWithinAnUlp(layer.weight.grad(), want.weight, type, carried, "dw");
  if (with_bias) ExpectWithinAnUlp(layer.bias.grad(), want.bias, type, carried, "db");
  EXPECT_EQ(x.grad().scalar_type(), at::kFloat);
  if (type != at::kFloat) {
    // Sums in FP32 differ from exact ones in the last bits, which rounding almost always hides.
    EXPECT_GE(ShareOfEqual(y.detach(), want.y), 0.98);
    EXPECT_GE(ShareOfEqual(layer.weight.grad(), want.weight), carried == 0 ? 0.98 : 0.9);
  }
}

TEST_P(LinearTest, StoredParametersGiveTheBitsOfACastAtUseAndGradientsAreTheMasters) {
  const auto [type, activation, with_bias] = GetParam();
  // The second is large enough for the library's product where the CPU has one.
  for (const auto& [rows, in, out] : {std::tuple(27, 37, 21), std::tuple(256, 128, 160)}) {
    at::manual_seed(6);
    const Layer cast(in, out, with_bias), stored(in, out, with_bias);
    stored.weight.detach().copy_(cast.weight.detach());
    if (with_bias) stored.bias.detach().copy_(cast.bias.detach());
    const at::Tensor x1 = at::randn({rows, in}).requires_grad_(true);
    const at::Tensor x2 = x1.detach().clone().requires_grad_(true);
    const at::Tensor y1 = OpLinear(x1, cast.weight, cast.bias, type, activation);
    const at::Tensor low_bias = with_bias ? stored.bias.detach().to(type) : at::Tensor();
    const at::Tensor y2 =
        OpLinear(x2, stored.weight, stored.bias, type, activation, stored.weight.detach().to(type), low_bias);
    const at::Tensor incoming = at::randn({rows, out}).to(type);
    y1.backward(incoming);
    y2.backward(incoming);
    EXPECT_TRUE(at::equal(y2, y1));
    EXPECT_TRUE(at::equal(x2.grad(), x1.grad()));
    EXPECT_TRUE(at::equal(stored.weight.grad(), cast.weight.grad()));
    EXPECT_EQ(stored.weight.grad().scalar_type(), at::kFloat);
    EXPECT_GT(stored.weight.grad().abs().max().item<float>(), 0);
    if (with_bias) {
      EXPECT_TRUE(at::equal(stored.bias.grad(), cast.bias.grad()));
    }
  }
}

TEST_P(LinearTest, TheStoredWeightIsWhatIsRead) {
  const auto [type, activation, with_bias] = GetParam();
  at::manual_seed(7);
  const Layer layer(8, 4, with_bias);
  const at::Tensor other = at::randn({4, 8}).to(type);
  const at::Tensor x = at::randn({3, 8}).requires_grad_(true);
  const at::Tensor y = OpLinear(x, layer.weight, layer.bias, type, activation, other);
  EXPECT_TRUE(at::equal(y, OpLinear(x, other.to(at::kFloat), layer.bias, type, activation)));
  y.sum().backward();
  const at::Tensor got = x.grad().clone();
  x.mutable_grad().zero_();
  OpLinear(x, other.to(at::kFloat), layer.bias, type, activation).sum().backward();
  EXPECT_TRUE(at::equal(got, x.grad()));
}

TEST(LinearStoredTest, AnotherShapeOrTypeIsRefused) {
  const Layer layer(8, 4, false);
  const at::Tensor x = at::randn({3, 8});
  EXPECT_THROW(OpLinear(x, layer.weight, {}, at::kBFloat16, kNone, at::zeros({4, 8}, at::kHalf)), c10::Error);
  EXPECT_THROW(OpLinear(x, layer.weight, {}, at::kBFloat16, kNone, at::zeros({8, 4}, at::kBFloat16)), c10::Error);
  const Layer biased(8, 4, true);
  const auto with_low_bias = [&](const at::Tensor& bias, const at::Tensor& low) {
    return OpLinear(x, biased.weight, bias, at::kBFloat16, kNone, {}, low);
  };
  with_low_bias(biased.bias, at::zeros({4}, at::kBFloat16));
  EXPECT_THROW(with_low_bias(biased.bias, at::zeros({4}, at::kHalf)), c10::Error);
  EXPECT_THROW(with_low_bias(biased.bias, at::zeros({5}, at::kBFloat16)), c10::Error);
  EXPECT_THROW(with_low_bias({}, at::zeros({4}, at::kBFloat16)), c10::Error);
}

TEST(LinearStoredTest, MicroGradientsAreAddedInFp32) {
  // 64 gradients of 1 + 2^-6, which BF16 holds exactly. Its own sum of them is 0.8 % off.
  const Layer layer(1, 1, false);
  const at::Tensor stored = layer.weight.detach().to(at::kBFloat16);
  const at::Tensor x = at::full({1, 1}, 1 + 0x1p-6);
  const at::Tensor low_sum = at::zeros({}, at::kBFloat16);
  for (int i = 0; i < 64; ++i) {
    OpLinear(x, layer.weight, {}, at::kBFloat16, kNone, stored).sum().backward();
    low_sum.add_(at::full({}, 1 + 0x1p-6, at::kBFloat16));
  }
  EXPECT_EQ(layer.weight.grad().item<float>(), 64 * (1 + 0x1p-6f));
  EXPECT_GT(std::fabs(low_sum.item<float>() / 65.0f - 1), 0.007f);
}

std::string CaseName(const testing::TestParamInfo<LinearTest::ParamType>& info) {
  static const char* const kNames[] = {"None", "Relu", "Gelu", "Tanh"};
  return std::string(c10::toString(std::get<0>(info.param))) + kNames[std::get<1>(info.param)] +
         (std::get<2>(info.param) ? "Bias" : "");
}

INSTANTIATE_TEST_SUITE_P(AllTypes, LinearTest,
                         testing::Combine(testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                                          testing::Values(kNone, kRelu, kGelu, kTanh), testing::Bool()),
                         CaseName);

TEST(LinearTest, LargeBfloat16LayersTakeTheLibrarysWayAndAgreeToo) {
  at::manual_seed(6);
  const Layer layer(160, 160, true);
  for (const std::int64_t activation : {kNone, kRelu, kGelu, kTanh}) {
    layer.weight.mutable_grad().zero_();
    layer.bias.mutable_grad().zero_();
    const at::Tensor x = at::randn({160, 160}).requires_grad_(true);
    const at::Tensor y = OpLinear(x, layer.weight, layer.bias, at::kBFloat16, activation);
    const at::Tensor incoming = at::randn({160, 160}).to(at::kBFloat16);
    y.backward(incoming);
    const Gradients want = Reference(x, layer, incoming, at::kBFloat16, activation);
    // The library sums products of BF16 in its own order, and its activations round inside: two units.
    for (const auto& [got, expected] :
         {std::pair(y.detach(), want.y), std::pair(x.grad(), want.x), std::pair(layer.weight.grad(), want.weight)}) {
      const at::Tensor error = (got.to(at::kDouble) - expected).abs();
      EXPECT_TRUE(error.le(expected.abs() * 0x1p-6 + expected.abs().max() * 0x1p-9).all().item<bool>())
          << activation << ": " << error.max().item<double>();
    }
  }
}

TEST(LinearTest, GradientsAddUpOverMicroBatches) {
  at::manual_seed(7);
  const Layer layer(8, 4, true);
  const at::Tensor x = at::randn({6, 8});
  const at::Tensor incoming = at::randn({6, 4});
  OpLinear(x, layer.weight, layer.bias, at::kFloat).backward(incoming);
  const at::Tensor once = layer.weight.grad().clone();
  const void* const where = layer.weight.grad().const_data_ptr();
  OpLinear(x, layer.weight, layer.bias, at::kFloat).backward(incoming);
  EXPECT_TRUE(at::allclose(layer.weight.grad(), once * 2));
  EXPECT_TRUE(at::allclose(layer.bias.grad(), incoming.sum(0) * 2));
  EXPECT_EQ(layer.weight.grad().const_data_ptr(), where);
}

TEST(LinearTest, AParameterWithoutABufferGetsOne) {
  const at::Tensor weight = at::randn({4, 8}).requires_grad_(true);
  const at::Tensor x = at::randn({6, 8});
  OpLinear(x, weight, at::Tensor(), at::kFloat).backward(at::ones({6, 4}));
  EXPECT_TRUE(at::allclose(weight.grad(), at::ones({4, 6}).mm(x)));
}

TEST(LinearTest, AnOverflowOfTheFormatBecomesInf) {
  const at::Tensor weight = at::full({1, 4}, 200.0).requires_grad_(true);
  const at::Tensor x = at::full({1, 4}, 200.0).requires_grad_(true);  // 160,000 is beyond FP16
  EXPECT_TRUE(std::isinf(OpLinear(x, weight, at::Tensor(), at::kHalf).item<float>()));
  EXPECT_TRUE(std::isfinite(OpLinear(x, weight, at::Tensor(), at::kBFloat16).item<float>()));
  // In backward as well: the product 2e4 x 200 x 1 row.
  const at::Tensor small = at::full({1, 4}, 1.0);
  weight.mutable_grad() = at::zeros({1, 4});
  const at::Tensor y = OpLinear(x * 1e-3, weight, at::Tensor(), at::kHalf);
  y.backward(at::full({1, 1}, 60000.0, at::kHalf));
  EXPECT_TRUE(x.grad().isinf().all().item<bool>());
  EXPECT_TRUE(weight.grad().isfinite().all().item<bool>());
}

TEST(LinearTest, HalfResultsAreThoseOfAHalfProductSummedInFloat) {
  at::manual_seed(8);
  const Layer layer(64, 128, false);
  const at::Tensor x = at::randn({64, 64});
  const at::Tensor ours = OpLinear(x, layer.weight, at::Tensor(), at::kHalf).detach();
  const at::Tensor exact =
      x.to(at::kHalf).to(at::kDouble).mm(layer.weight.detach().to(at::kHalf).to(at::kDouble).t()).to(at::kHalf);
  EXPECT_GE(ours.eq(exact).to(at::kDouble).mean().item<double>(), 0.998);
}

TEST(LinearTest, NothingIsRecordedWithoutGradModeAndForInputsAlone) {
  const Layer layer(8, 4, true);
  const at::Tensor x = at::randn({6, 8});
  {
    const c10::AutoGradMode off(false);
    EXPECT_FALSE(OpLinear(x, layer.weight, layer.bias, at::kFloat).requires_grad());
  }
  EXPECT_TRUE(OpLinear(x, layer.weight, layer.bias, at::kFloat).requires_grad());
  const at::Tensor frozen = at::randn({4, 8});
  EXPECT_FALSE(OpLinear(x, frozen, at::Tensor(), at::kFloat).requires_grad());
  const at::Tensor leaf = at::randn({6, 8}).requires_grad_(true);
  OpLinear(leaf, frozen, at::Tensor(), at::kFloat).backward(at::ones({6, 4}));
  EXPECT_TRUE(at::allclose(leaf.grad(), at::ones({6, 4}).mm(frozen)));
  EXPECT_FALSE(frozen.grad().defined());
}

TEST(LinearTest, ASecondBackwardIsRefused) {
  const Layer layer(8, 4, true);
  const at::Tensor y = OpLinear(at::randn({6, 8}), layer.weight, layer.bias, at::kFloat);
  y.backward(at::ones({6, 4}));
  EXPECT_THROW(y.backward(at::ones({6, 4})), c10::Error);
}

TEST(LinearTest, WrongShapesAreRefusedAndEmptyBatchesAreNot) {
  const Layer layer(8, 4, true);
  EXPECT_THROW(OpLinear(at::randn({6, 7}), layer.weight, layer.bias, at::kFloat), c10::Error);
  EXPECT_THROW(OpLinear(at::randn({6, 8}), layer.weight, at::randn({5}), at::kFloat), c10::Error);
  EXPECT_THROW(OpLinear(at::randn({6, 8}), layer.weight, layer.bias, at::kDouble), c10::Error);
  EXPECT_THROW(OpLinear(at::randn({6, 8}), layer.weight, layer.bias, at::kFloat, 9), c10::Error);
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor y = OpLinear(at::zeros({0, 8}), layer.weight, layer.bias, type);
    EXPECT_EQ(y.sizes(), at::IntArrayRef({0, 4}));
    y.backward(at::zeros({0, 4}, type));
  }
  EXPECT_TRUE(layer.weight.grad().eq(0).all().item<bool>());
}

}  // namespace
}  // namespace mantissa::trainer
