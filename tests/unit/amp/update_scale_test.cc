// The op against its reference on the host, and for the torch preset against ATen's own.
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/amp/scaler_trace.h"
#include "tests/unit/kernels/ops.h"
#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {
namespace {

void OpUpdateScale(const at::Tensor& settings, const at::Tensor& state) {
  FindOp<void(const at::Tensor&, const at::Tensor&)>("mantissa::update_scale").call(settings, state);
}

// As the verdict leaves it.
void SetFoundInf(const at::Tensor& state, float found_inf) {
  std::memcpy(static_cast<char*>(state.data_ptr()) + offsetof(StepState, found_inf), &found_inf, sizeof(found_inf));
}

TEST(UpdateScaleTest, LeavesTheSameBytesAsTheScalerOnRandomTraces) {
  std::mt19937 random(17);
  for (int trace = 0; trace < 200; ++trace) {
    ScalerSettings settings;
    settings.enabled = trace % 8 == 0 ? 0 : 1;
    settings.init = std::ldexp(1.0, static_cast<int>(random() % 20));
    settings.growth_interval = static_cast<std::int32_t>(1 + random() % 6);
    settings.hysteresis = static_cast<std::int32_t>(1 + random() % 3);
    settings.consecutive_hysteresis = static_cast<std::int32_t>(random() % 2);
    settings.min = random() % 2 == 0 ? 0 : 0.25;
    settings.max = random() % 2 == 0 ? 0 : 0x1p22;
    settings.latch = trace % 4 == 0 ? 0 : 1;
    settings.halt_at_floor = static_cast<std::int32_t>(random() % 2);
    settings.max_skips_in_row = 6;
    LossScaler reference(settings);
    const at::Tensor settings_bytes = BytesOf(settings);
    const at::Tensor state = BytesOf(InitialStepState(settings));
    std::bernoulli_distribution overflow(0.1 + 0.08 * (trace % 10));
    for (int i = 0; i < 100; ++i) {
      const bool found_inf = overflow(random);
      reference.Update(found_inf);
      SetFoundInf(state, found_inf ? 1 : 0);
      OpUpdateScale(settings_bytes, state);
      ASSERT_EQ(std::memcmp(state.const_data_ptr(), &reference.state(), sizeof(StepState)), 0)
          << "trace " << trace << ", update " << i;
    }
  }
}

TEST(UpdateScaleTest, WithTheLatchOffTheTorchPresetIsAtensScaleUpdate) {
  v1::PrecisionSpec precision;
  precision.set_mode(v1::PrecisionSpec::FP16);
  ScalerSettings settings = ScalerSettingsFrom(precision, 1);
  settings.latch = 0;
  std::mt19937 random(23);
  // Starts that reach the largest floats and the smallest, and growth intervals short enough to be seen.
  for (const double init : {0x1p16, 0x1p120, 0x1p-140, 3e38}) {
    for (const int interval : {1, 3, 7}) {
      settings.init = init;
      settings.growth_interval = interval;
      std::bernoulli_distribution overflow(0.15);
      at::Tensor scale = at::full({}, init, at::kFloat);
      at::Tensor tracker = at::zeros({}, at::kInt);
      const at::Tensor settings_bytes = BytesOf(settings);
      const at::Tensor state = BytesOf(InitialStepState(settings));
      for (int i = 0; i < 300; ++i) {
        const float found_inf = overflow(random) ? 1 : 0;
        at::_amp_update_scale_(scale, tracker, at::full({}, found_inf, at::kFloat), 2.0, 0.5, interval);
        SetFoundInf(state, found_inf);
        OpUpdateScale(settings_bytes, state);
        const StepState ours = StructOf<StepState>(state);
        ASSERT_EQ(ours.loss_scale, scale.item<float>()) << "init " << init << ", update " << i;
        ASSERT_EQ(ours.growth_tracker, tracker.item<int>());
      }
    }
  }
}

TEST(UpdateScaleTest, ArgumentsOfTheWrongSizeAreRefusedByName) {
  const at::Tensor settings = BytesOf(SmallScaler());
  const at::Tensor state = BytesOf(StepState());
  const auto message = [](const at::Tensor& a, const at::Tensor& b) -> std::string {
    try {
      OpUpdateScale(a, b);
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return "";
  };
  EXPECT_NE(message(settings.narrow(0, 0, 40), state).find("settings must be a byte tensor"), std::string::npos);
  EXPECT_NE(message(settings, state.narrow(0, 0, sizeof(StepState) - 1)).find("state must be a byte tensor"),
            std::string::npos);
  EXPECT_NE(message(settings, at::zeros({sizeof(StepState)})).find("state must be a byte tensor"), std::string::npos);
}

}  // namespace
}  // namespace mantissa::trainer
