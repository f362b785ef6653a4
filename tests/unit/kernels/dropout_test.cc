#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "tests/unit/kernels/ops.h"
#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer {
namespace {

// Known answers of Philox4x32-10, published with the Random123 library.
TEST(PhiloxTest, GivesTheKnownAnswers) {
  const Philox4 zero = Philox({{0, 0, 0, 0}}, 0);
  EXPECT_EQ(zero.word[0], 0x6627e8d5u);
  EXPECT_EQ(zero.word[1], 0xe169c58du);
  EXPECT_EQ(zero.word[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.word[3], 0x9b00dbd8u);
  const Philox4 ones = Philox({{~0u, ~0u, ~0u, ~0u}}, ~std::uint64_t{0});
  EXPECT_EQ(ones.word[0], 0x408f276du);
  EXPECT_EQ(ones.word[1], 0x41c83b0eu);
  EXPECT_EQ(ones.word[2], 0xa20bc7c6u);
  EXPECT_EQ(ones.word[3], 0x6d5451fdu);
  const Philox4 pi = Philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0x299f31d0a4093822);
  EXPECT_EQ(pi.word[0], 0xd16cfe09u);
  EXPECT_EQ(pi.word[1], 0x94fdccebu);
  EXPECT_EQ(pi.word[2], 0x5001e420u);
  EXPECT_EQ(pi.word[3], 0x24126ea1u);
}

TEST(DropoutTest, EqualKeysDropEqualElementsAndAnyOtherKeyDoesNot) {
  const at::Tensor x = at::ones({1000});
  const at::Tensor first = OpDropout(x, 0.5, DropoutKey());
  at::rand({17});  // whatever ATen's generator did in between
  EXPECT_TRUE(at::equal(OpDropout(x, 0.5, DropoutKey()), first));
  for (const DropoutKey& other : {DropoutKey{9, 2, 3, 4}, DropoutKey{1, 9, 3, 4}, DropoutKey{1, 2, 9, 4},
                                  DropoutKey{1, 2, 3, 9}, DropoutKey{1LL << 40, 2, 3, 4}}) {
    EXPECT_FALSE(at::equal(OpDropout(x, 0.5, other), first));
  }
}

TEST(DropoutTest, DropsTheAskedShareAndKeepsTheMean) {
  const at::Tensor x = at::ones({1 << 18});
  for (const double probability : {0.1, 0.5, 0.9}) {
    const at::Tensor y = OpDropout(x, probability, DropoutKey());
    const double dropped = y.eq(0).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(dropped, probability, 0.005);  // 5 standard deviations
    EXPECT_FLOAT_EQ(y.max().item<float>(), static_cast<float>(1 / (1 - probability)));
  }
}

TEST(DropoutTest, AnElementsFateDoesNotDependOnTheTensorsSizeOrThreads) {
  const at::Tensor large = OpDropout(at::ones({200001}), 0.3, DropoutKey());
  for (const std::int64_t size : {0, 1, 3, 4, 5, 1001}) {
    EXPECT_TRUE(at::equal(OpDropout(at::ones({size}), 0.3, DropoutKey()), large.narrow(0, 0, size)));
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(OpDropout(at::ones({200001}), 0.3, DropoutKey()), large));
  at::set_num_threads(threads);
}

TEST(DropoutTest, BackwardDropsTheSameElements) {
  const at::Tensor x = at::randn({7, 13}).requires_grad_(true);
  const at::Tensor y = OpDropout(x, 0.4, DropoutKey());
  y.backward(at::ones_like(y));
  EXPECT_TRUE(at::equal(x.grad(), OpDropout(at::ones({7, 13}), 0.4, DropoutKey())));
}

TEST(DropoutTest, AnIterationThatATensorHoldsDropsWhatTheNumberDrops) {
  const at::Tensor window = at::full({1}, std::int64_t{7}, at::kLong);
  const at::Tensor x = at::randn({7, 13}).requires_grad_(true);
  const at::Tensor y = OpDropoutOfWindow(x, 0.4, DropoutKey(), window);
  EXPECT_TRUE(at::equal(y, OpDropout(x, 0.4, {.iteration = 7})));
  EXPECT_FALSE(at::equal(y, OpDropout(x, 0.4, {.iteration = 8})));
  y.backward(at::ones_like(y));
  EXPECT_TRUE(at::equal(x.grad(), OpDropout(at::ones({7, 13}), 0.4, {.iteration = 7})));
  window.fill_(8);
  EXPECT_TRUE(at::equal(OpDropoutOfWindow(x, 0.4, DropoutKey(), window), OpDropout(x, 0.4, {.iteration = 8})));
  EXPECT_THROW(OpDropoutOfWindow(x, 0.4, DropoutKey(), at::zeros({2}, at::kLong)), c10::Error);
  EXPECT_THROW(OpDropoutOfWindow(x, 0.4, DropoutKey(), at::zeros({1})), c10::Error);
}

TEST(DropoutTest, KeepsTheTypeAndReadsAnyLayout) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    EXPECT_EQ(OpDropout(at::ones({9}, type), 0.5, DropoutKey()).scalar_type(), type);
  }
  const at::Tensor x = at::randn({5, 6});
  EXPECT_TRUE(at::equal(OpDropout(x.t(), 0.5, DropoutKey()), OpDropout(x.t().contiguous(), 0.5, DropoutKey())));
}

TEST(DropoutTest, AProbabilityOutsideItsRangeIsRefused) {
  EXPECT_THROW(OpDropout(at::ones({4}), 1.0, DropoutKey()), c10::Error);
  EXPECT_THROW(OpDropout(at::ones({4}), -0.1, DropoutKey()), c10::Error);
  EXPECT_THROW(OpDropout(at::ones({4}), NAN, DropoutKey()), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
