// Verdict and loss scale against their CPU twins, which share the decisions: what can differ is how totals are summed.
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string BytesOfState(const StepState& state) { return {reinterpret_cast<const char*>(&state), sizeof(state)}; }

StepState AfterVerdict(const std::vector<GradientStats>& rows, const at::Tensor& loss_sum,
                       const ScalerSettings& settings, const StepState& before, at::Device device) {
  at::Tensor stats = at::empty({static_cast<std::int64_t>(rows.size() * sizeof(GradientStats))}, at::kByte);
  std::memcpy(stats.data_ptr(), rows.data(), rows.size() * sizeof(GradientStats));
  const at::Tensor state = BytesOf(before).to(device);
  FindOp<void(const at::Tensor&, const at::Tensor&, double, const at::Tensor&, const at::Tensor&)>("mantissa::verdict")
      .call(stats.to(device), loss_sum.to(device), 7.0, BytesOf(settings).to(device), state);
  return StructOf<StepState>(state);
}

std::vector<GradientStats> Rows(std::size_t count, std::int64_t infs, std::int64_t nans) {
  std::mt19937 random(5);
  std::vector<GradientStats> rows(count);
  for (GradientStats& row : rows) row.sum_of_squares = static_cast<double>(random() % 1000) / 7;
  rows.back().inf_count = infs;
  rows.front().nan_count = nans;
  return rows;
}

TEST(GpuVerdictTest, DecidesAsTheCpuDoes) {
  StepState before;
  before.loss_scale = 1024;
  before.learning_rate = 0.5;
  for (const std::size_t parameters : {1u, 2u, 255u, 257u, 1000u}) {
    for (const auto& [infs, nans] : {std::pair{0, 0}, {1, 0}, {0, 1}, {3, 4}}) {
      for (const double loss : {12.5, kInf, kNan}) {
        for (const double max_grad_norm : {0.0, 1e-3, 1e9}) {
          for (const std::int32_t check_loss : {0, 1}) {
            ScalerSettings settings;
            settings.max_grad_norm = max_grad_norm;
            settings.check_loss = check_loss;
            const auto rows = Rows(parameters, infs, nans);
            const at::Tensor sum = at::full({}, loss, at::kFloat);
            const StepState cpu = AfterVerdict(rows, sum, settings, before, at::kCPU);
            StepState gpu = AfterVerdict(rows, sum, settings, before, kGpu);
            // The total is summed in another order.
            EXPECT_NEAR(gpu.grad_norm, cpu.grad_norm, 1e-14 * cpu.grad_norm);
            EXPECT_NEAR(gpu.factor, cpu.factor, std::ldexp(cpu.factor, -23));
            gpu.grad_norm = cpu.grad_norm;
            gpu.factor = cpu.factor;
            EXPECT_EQ(BytesOfState(gpu), BytesOfState(cpu));
          }
        }
      }
    }
  }
}

TEST(GpuVerdictTest, ReadsALossInDouble) {
  const double loss = 1.0 + 1e-12;  // FP32 does not hold it
  const StepState gpu =
      AfterVerdict(Rows(1, 0, 0), at::full({}, loss * 7, at::kDouble), ScalerSettings(), StepState(), kGpu);
  EXPECT_DOUBLE_EQ(gpu.loss, loss);
}

TEST(GpuVerdictTest, AHaltedRunIsLeftAlone) {
  StepState before;
  before.halt = static_cast<std::int32_t>(Halt::kSkipsInRow);
  before.loss = 3;
  EXPECT_EQ(BytesOfState(AfterVerdict(Rows(3, 1, 0), at::ones({}), ScalerSettings(), before, kGpu)),
            BytesOfState(before));
}

// A quarter of the iterations overflow; the last 60 all do.
std::vector<bool> Script() {
  std::mt19937 random(11);
  std::vector<bool> overflows;
  for (int i = 0; i < 400; ++i) overflows.push_back(i >= 340 || random() % 4 == 0);
  return overflows;
}

void ExpectSameSequence(const ScalerSettings& settings) {
  LossScaler reference(settings);
  const at::Tensor on_device = BytesOf(settings).to(kGpu);
  at::Tensor state = BytesOf(InitialStepState(settings)).to(kGpu);
  const auto op = FindOp<void(const at::Tensor&, const at::Tensor&)>("mantissa::update_scale");
  bool halted = false;
  for (const bool overflow : Script()) {
    if (!halted) {
      StepState judged = StructOf<StepState>(state);
      judged.found_inf = overflow ? 1.0f : 0.0f;
      state.copy_(BytesOf(judged));
    }
    op.call(on_device, state);
    if (!halted) reference.Update(overflow);
    ASSERT_EQ(BytesOfState(StructOf<StepState>(state)), BytesOfState(reference.state()));
    halted = reference.halt() != Halt::kNone;
  }
  EXPECT_EQ(halted, settings.latch != 0);
}

TEST(GpuUpdateScaleTest, EqualsTheReferenceBitForBitThroughAScript) {
  ScalerSettings torch;
  torch.enabled = 1;
  torch.init = 65536;
  torch.growth_interval = 3;
  torch.latch = 0;
  ExpectSameSequence(torch);
  ScalerSettings megatron = torch;
  megatron.hysteresis = 2;
  megatron.min = 1;
  megatron.growth_factor = 1.7;  // no power of two
  ExpectSameSequence(megatron);
  megatron.consecutive_hysteresis = 1;
  megatron.max = 1 << 20;
  ExpectSameSequence(megatron);
  ScalerSettings latched = megatron;
  latched.latch = 1;
  latched.halt_at_floor = 1;
  ExpectSameSequence(latched);
  ScalerSettings off;  // BF16 and FP32: the limit on skips in a row ends it
  ExpectSameSequence(off);
}

}  // namespace
}  // namespace mantissa::trainer
