#include <bit>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"
#include "tests/unit/kernels/with_isa.h"

namespace mantissa::trainer {
namespace {

// Against a definition by whole-tensor operations, at sizes around vectors and blocks, on each instruction set.
TEST(CountRangeTest, AgreesWithItsDefinitionAtEverySize) {
  for (const std::int64_t size : {0, 1, 3, 7, 8, 15, 16, 17, 63, 65, 4095, 4096, 4097, 20001}) {
    at::manual_seed(static_cast<std::uint64_t>(size));
    at::Tensor values = at::randn({size}) * at::exp2(at::randint(-40, 18, {size}, at::kFloat));
    if (size > 2) values[size / 2] = std::numeric_limits<float>::quiet_NaN();
    if (size > 3) values[size - 1] = -std::numeric_limits<float>::infinity();
    if (size > 8) values[5] = 0;
    const at::Tensor magnitude = values.abs();
    const auto count = [](const at::Tensor& is) { return is.sum().item<std::int64_t>(); };
    const at::Tensor finite = magnitude.masked_select(magnitude.isfinite());
    WithEachIsa([&](cpu::Isa isa) {
      const RangeCounts counts = OpCountRange(values, {0x1p-25f, 32752.0f});
      const float max = finite.numel() > 0 ? finite.max().item<float>() : 0;
      const std::string where = absl::StrCat(size, " values, instruction set ", static_cast<int>(isa));
      EXPECT_EQ(std::bit_cast<float>(static_cast<std::int32_t>(counts.max_bits)), max) << where;
      EXPECT_EQ(counts.not_zero, count(magnitude.ne(0))) << where;
      EXPECT_EQ(counts.flushed, count(magnitude.ne(0).logical_and(magnitude.le(0x1p-25f)))) << where;
      EXPECT_EQ(counts.near_max, count(magnitude.ge(32752.0f))) << where;
    });
  }
}

TEST(CountRangeTest, AddsToWhatIsThere) {
  const at::Tensor counts = at::zeros({4}, at::kLong);
  OpCountRange(at::tensor({1.0f, 0.0f}), {0.5f, 4.0f}, counts);
  OpCountRange(at::tensor({0.25f, -8.0f}), {0.5f, 4.0f}, counts);
  OpCountRange(at::tensor({2.0f}), {0.5f, 4.0f}, counts);
  EXPECT_EQ(counts[0].item<std::int64_t>(), std::bit_cast<std::int32_t>(8.0f)) << "the largest of all";
  EXPECT_EQ(counts[1].item<std::int64_t>(), 4);
  EXPECT_EQ(counts[2].item<std::int64_t>(), 1);
  EXPECT_EQ(counts[3].item<std::int64_t>(), 1);
}

TEST(CountRangeTest, RefusesWhatItCannotCount) {
  const at::Tensor counts = at::zeros({4}, at::kLong);
  EXPECT_THROW(OpCountRange(at::zeros({4}, at::kHalf), {}, counts), c10::Error);
  EXPECT_THROW(OpCountRange(at::zeros({3, 4}).t(), {}, counts), c10::Error);
  EXPECT_THROW(OpCountRange(at::zeros({4}), {}, at::zeros({3}, at::kLong)), c10::Error);
  EXPECT_THROW(OpCountRange(at::zeros({4}), {}, at::zeros({4})), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
