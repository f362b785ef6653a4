#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/unit/kernels/ops.h"
#include "tests/unit/kernels/with_isa.h"
#include "worker/kernels/cast_weights/stored_weight.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kFirst = 40'000;  // more than a thread's share
constexpr std::int64_t kBetween = 16;
constexpr std::int64_t kSecond = 37;
constexpr std::int64_t kTotal = kFirst + kBetween + kSecond;

// Two parameters that are stored, in the other order, and one between them that is not.
struct Layout {
  at::Tensor chunks = ChunkTensor(
      {{0, 30'000, 0, 0}, {30'000, 10'000, 0, 0}, {kFirst, kBetween, 1, 0}, {kFirst + kBetween, kSecond, 2, 0}});
  at::Tensor places = at::empty({3 * static_cast<std::int64_t>(sizeof(StoredWeight))}, at::kByte);

  Layout() {
    auto* const rows = static_cast<StoredWeight*>(places.data_ptr());
    rows[0].shift = 48;
    rows[1].shift = StoredWeight::kNowhere;
    rows[2].shift = -(kFirst + kBetween);
  }

  void Cast(const at::Tensor& values, const at::Tensor& weights) const {
    using at::Tensor;
    FindOp<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>("mantissa::cast_weights")
        .call(values, chunks, places, weights);
  }
};

at::Tensor Values() {
  at::manual_seed(3);
  at::Tensor values = at::randn({kTotal}) * 1000;
  // What a cast can go wrong with: a tie, a subnormal, what overflows FP16, no number at all.
  const std::vector<float> hard = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1p-11f, 1e-41f,    3e-8f,
                                   70000.0f,    3.4e38f,         INFINITY,     -INFINITY, -0.0f};
  for (std::size_t i = 0; i < hard.size(); ++i) values[static_cast<std::int64_t>(i)] = hard[i];
  return values;
}

class CastWeightsTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(CastWeightsTest, EveryStoredElementIsRoundedOnceAndNothingElseIsWritten) {
  const at::Tensor values = Values();
  const at::Tensor weights = at::full({48 + kFirst + 5}, 7, GetParam());
  Layout().Cast(values, weights);
  const auto same = [](const at::Tensor& a, const at::Tensor& b) {
    return at::equal(a.contiguous().view(at::kShort), b.contiguous().view(at::kShort));
  };
  EXPECT_TRUE(same(weights.narrow(0, 48, kFirst), values.narrow(0, 0, kFirst).to(GetParam())));
  EXPECT_TRUE(same(weights.narrow(0, 0, kSecond), values.narrow(0, kFirst + kBetween, kSecond).to(GetParam())));
  EXPECT_TRUE(weights.narrow(0, kSecond, 48 - kSecond).eq(7).all().item<bool>());
  EXPECT_TRUE(weights.narrow(0, 48 + kFirst, 5).eq(7).all().item<bool>());
}

TEST_P(CastWeightsTest, EveryInstructionSetAndThreadCountGivesTheSameBits) {
  const auto cast = [&] {
    const at::Tensor weights = at::zeros({48 + kFirst}, GetParam());
    Layout().Cast(Values(), weights);
    return weights.view(at::kShort);
  };
  const at::Tensor expected = cast();
  WithEachIsa([&](cpu::Isa) { EXPECT_TRUE(at::equal(cast(), expected)); });
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    EXPECT_TRUE(at::equal(cast(), expected));
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(LowTypes, CastWeightsTest, testing::Values(at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(CastWeightsArgumentsTest, WeightsAreOfALowTypeAndFlat) {
  EXPECT_THROW(Layout().Cast(Values(), at::zeros({48 + kFirst})), c10::Error);
  EXPECT_THROW(Layout().Cast(Values(), at::zeros({48 + kFirst, 1}, at::kHalf)), c10::Error);
  EXPECT_THROW(Layout().Cast(Values().to(at::kHalf), at::zeros({48 + kFirst}, at::kHalf)), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
