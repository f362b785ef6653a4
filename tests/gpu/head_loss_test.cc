// The last layer and its loss in pieces, as on the CPU and as in one.
#include "worker/models/head_loss.h"

#include <limits>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kRows = 700;
constexpr std::int64_t kClasses = 5003;  // rows of logits that begin unaligned
constexpr std::int64_t kWidth = 64;
constexpr std::int64_t kInOnePiece = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kInPieces = 1;  // of 128 rows, the last of 60

struct Outcome {
  HeadLoss loss;
  at::Tensor weight_gradient;
};

class GpuHeadLossTest : public testing::TestWithParam<v1::PrecisionSpec::Mode> {
 protected:
  at::Tensor Normal(at::IntArrayRef sizes) { return at::normal(0, 1, sizes, generator_); }

  Outcome Run(at::Device device, std::int64_t most_bytes) const {
    const LinearParameters head{.path = "head", .weight = weight.to(device).clone().requires_grad_(), .bias = {}};
    Outcome outcome;
    outcome.loss = RunHead({.features = features.to(device), .head = head}, targets.to(device), seed.to(device),
                           {.policy = policy, .key = {}}, most_bytes);
    outcome.weight_gradient = head.weight.grad();
    return outcome;
  }

  double Distance(const at::Tensor& a, const at::Tensor& b) const {
    const at::Tensor from = b.cpu().to(at::kDouble);
    return ((a.cpu().to(at::kDouble) - from).norm() / from.norm()).item<double>();
  }

  at::Generator generator_ = at::detail::createCPUGenerator(/*seed_val=*/20);
  PrecisionPolicy policy{GetParam()};
  at::Tensor features = Normal({kRows, kWidth}).to(policy.compute_type());
  at::Tensor weight = Normal({kClasses, kWidth}).mul_(0.1);
  at::Tensor targets = at::randint(kClasses, {kRows}, generator_, at::kLong);
  at::Tensor seed = at::full({}, 64.0f);
};

TEST_P(GpuHeadLossTest, IsInPiecesWhatItIsInOneAndOnTheCpu) {
  targets.narrow(0, 100, 50).fill_(PrecisionPolicy::kIgnored);
  // Roundings of logits, their gradients and the products' results; in FP32 the order of sums.
  const double allowed = policy.compute_type() == at::kFloat ? 1e-5 : policy.compute_type() == at::kHalf ? 3e-3 : 2e-2;
  const Outcome cpu = Run(at::kCPU, kInOnePiece);
  for (const std::int64_t most_bytes : {kInOnePiece, kInPieces}) {
    const Outcome gpu = Run(kGpu, most_bytes);
    EXPECT_LE(Distance(gpu.loss.loss_sum, cpu.loss.loss_sum), allowed);
    EXPECT_LE(Distance(gpu.loss.gradient, cpu.loss.gradient), allowed);
    EXPECT_LE(Distance(gpu.weight_gradient, cpu.weight_gradient), allowed);
    EXPECT_EQ(gpu.loss.gradient.scalar_type(), features.scalar_type());
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GpuHeadLossTest,
                         testing::Values(v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16),
                         [](const auto& info) { return v1::PrecisionSpec::Mode_Name(info.param); });

}  // namespace
}  // namespace mantissa::trainer
