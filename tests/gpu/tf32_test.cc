// TF32 on the GPU: products read their operands with 10 bits of fraction, and only while the attempt asks for it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "worker/amp/precision_policy.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;

double WorstError(const at::Tensor& got, const at::Tensor& want) {
  return (got.cpu().to(at::kDouble) - want).abs().max().item<double>();
}

class GpuTf32Test : public testing::Test {
 protected:
  GpuTf32Test() { at::manual_seed(2); }
  ~GpuTf32Test() override { ResetProcess({}); }

  const at::Tensor x_ = at::randn({128, 512});
  const at::Tensor weight_ = at::randn({256, 512});
  const at::Tensor exact_ = at::linear(x_.to(at::kDouble), weight_.to(at::kDouble));
  // Each operand is off by at most 2^-10 of itself, rounded or cut.
  const double bound_ = 0x1p-9 * at::linear(x_.abs(), weight_.abs()).max().item<double>();
};

TEST_F(GpuTf32Test, ProductsAreThoseOfOperandsWithTenBits) {
  ResetProcess({});
  const at::Tensor full = PrecisionPolicy(Mode::FP32).Linear(x_.to(kGpu), weight_.to(kGpu), {});
  ResetProcess({.tf32 = true});
  const at::Tensor rounded = PrecisionPolicy(Mode::TF32).Linear(x_.to(kGpu), weight_.to(kGpu), {});
  ResetProcess({});
  const at::Tensor after = PrecisionPolicy(Mode::FP32).Linear(x_.to(kGpu), weight_.to(kGpu), {});
  EXPECT_EQ(rounded.scalar_type(), at::kFloat);
  EXPECT_LT(WorstError(rounded, exact_), bound_);
  EXPECT_GT(WorstError(rounded, exact_), 8 * WorstError(full, exact_)) << "no TF32 was used";
  EXPECT_TRUE(at::equal(after, full)) << "the next attempt has FP32 again";
}

TEST_F(GpuTf32Test, SoAreConvolutions) {
  // Large enough for cuDNN to take tensor cores: of 8 images of 32 x 16 x 16 it takes none.
  const at::Tensor image = at::randn({32, 64, 32, 32});
  const at::Tensor kernel = at::randn({64, 64, 3, 3});
  const at::Tensor exact = Convolve(image.to(at::kDouble), kernel.to(at::kDouble), {}, {.padding = 1});
  const double bound = 0x1p-9 * Convolve(image.abs(), kernel.abs(), {}, {.padding = 1}).max().item<double>();
  const auto run = [&](Mode::Mode mode) {
    ResetProcess({.tf32 = mode == Mode::TF32});
    return PrecisionPolicy(mode).Convolution(image.to(kGpu), kernel.to(kGpu), {}, {.padding = 1});
  };
  const double of_full = WorstError(run(Mode::FP32), exact);
  const double of_rounded = WorstError(run(Mode::TF32), exact);
  EXPECT_LT(of_rounded, bound);
  EXPECT_GT(of_rounded, 8 * of_full);
}

TEST_F(GpuTf32Test, EmulatedItIsTheSameOnEveryDevice) {
  v1::PrecisionSpec precision;
  precision.set_mode(Mode::TF32);
  const PrecisionPolicy emulated(precision, {}, {Mode::TF32});
  const at::Tensor on_cpu = emulated.Linear(x_, weight_, {});
  const at::Tensor on_gpu = emulated.Linear(x_.to(kGpu), weight_.to(kGpu), {});
  EXPECT_LT(WorstError(on_gpu, on_cpu.to(at::kDouble)), 1e-4) << "but for the order of FP32 sums";
  EXPECT_LT(WorstError(on_gpu, exact_), bound_);
  EXPECT_GT(WorstError(on_gpu, exact_), 1e-3);
}

}  // namespace
}  // namespace mantissa::trainer
