// The presets against the state machines that they are named after, each written down here from its project's own
// rules, with its own counters. Random traces are seeded; every update is compared.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "mantissa/v1/training.pb.h"
#include "tests/unit/amp/scaler_trace.h"
#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {
namespace {

using Scales = std::vector<double>;

constexpr const char kVectorTrace[] = "0000 1 0 11 0000 11";

// Start 16, window 4, floor 1: what the vectors were made with.
ScalerSettings VectorScaler(std::int32_t hysteresis, bool consecutive) {
  ScalerSettings settings = SmallScaler();
  settings.min = 1;
  settings.hysteresis = hysteresis;
  settings.consecutive_hysteresis = consecutive ? 1 : 0;
  return settings;
}

TEST(OriginalScalersTest, WithoutHysteresisTheVectorIsPyTorchsApexsAndDeepSpeeds) {
  EXPECT_EQ(ScalesAfter(VectorScaler(1, false), kVectorTrace),
            (Scales{16, 16, 16, 32, 16, 16, 8, 4, 4, 4, 4, 8, 4, 2}));
}

TEST(OriginalScalersTest, HysteresisRefilledByGrowthGivesTheVectorOfMegatronAndDeepSpeed) {
  EXPECT_EQ(ScalesAfter(VectorScaler(2, false), kVectorTrace),
            (Scales{16, 16, 16, 32, 32, 32, 16, 8, 8, 8, 8, 16, 16, 8}));
}

TEST(OriginalScalersTest, HysteresisRefilledByCleanIterationsGivesTheVectorOfApexsKernelAndDeepSpeed) {
  EXPECT_EQ(ScalesAfter(VectorScaler(2, true), kVectorTrace),
            (Scales{16, 16, 16, 32, 32, 32, 32, 16, 16, 16, 16, 32, 32, 16}));
}

TEST(OriginalScalersTest, EveryOtherOverflowLowersMegatronsScaleAndNeverAConsecutiveOne) {
  EXPECT_EQ(ScalesAfter(VectorScaler(2, false), "1010101010"), (Scales{16, 16, 8, 8, 4, 4, 2, 2, 1, 1}));
  EXPECT_EQ(ScalesAfter(VectorScaler(2, true), "1010101010"), (Scales(10, 16)));
}

// Parameters of one random trace, within what each original can do.
struct Parameters {
  double init = 16;
  std::int64_t interval = 4;
  int hysteresis = 1;
  bool consecutive = false;
  double min = 1;
  double max = 0;
};

// torch/cuda: _amp_update_scale_. No hysteresis, no floor; growth only where it stays finite.
struct PyTorchScaler {
  explicit PyTorchScaler(const Parameters& p) : p(p), scale(static_cast<float>(p.init)) {}
  void Update(bool found_inf) {
    if (found_inf) {
      scale = static_cast<float>(scale * 0.5);
      tracker = 0;
    } else if (++tracker == p.interval) {
      const float grown = scale * 2.0f;
      if (std::isfinite(grown)) scale = grown;
      tracker = 0;
    }
  }
  Parameters p;
  float scale;
  std::int64_t tracker = 0;
};

// Apex's amp LossScaler: a Python float, `_unskipped`, min and max.
struct ApexScaler {
  explicit ApexScaler(const Parameters& p) : p(p), scale(p.init) {}
  void Update(bool found_inf) {
    if (found_inf) {
      scale = p.min > 0 ? std::max(p.min, scale / 2) : scale / 2;
      unskipped = 0;
    } else {
      unskipped += 1;
    }
    if (unskipped == p.interval) {
      scale = std::min(p.max, scale * 2);
      unskipped = 0;
    }
  }
  Parameters p;
  double scale;
  std::int64_t unskipped = 0;
};

// Megatron's DynamicGradScaler: the tracker goes on below zero and only growth refills it.
struct MegatronScaler {
  explicit MegatronScaler(const Parameters& p) : p(p), scale(p.init), hysteresis(p.hysteresis) {}
  void Update(bool found_inf) {
    if (found_inf) {
      growth = 0;
      hysteresis -= 1;
      if (hysteresis <= 0) scale = std::max(scale * 0.5, p.min);
      return;
    }
    growth += 1;
    if (growth == p.interval) {
      growth = 0;
      hysteresis = p.hysteresis;
      scale *= 2;
    }
  }
  Parameters p;
  double scale;
  int hysteresis;
  std::int64_t growth = 0;
};

// DeepSpeed's DynamicLossScaler: it counts iterations and remembers the last overflow. `raised` from the update on at
// which it would raise at its minimum.
struct DeepSpeedScaler {
  explicit DeepSpeedScaler(const Parameters& p) : p(p), scale(p.init), hysteresis(p.hysteresis) {}
  void Update(bool found_inf) {
    if (found_inf) {
      if (p.hysteresis == 1 || hysteresis == 1) {
        if (scale == p.min) raised = true;
        scale = std::max(scale / 2, p.min);
      } else {
        hysteresis -= 1;
      }
      last_overflow = iteration;
    } else {
      if (p.consecutive) hysteresis = p.hysteresis;
      if ((iteration - last_overflow) % p.interval == 0) {
        if (!p.consecutive) hysteresis = p.hysteresis;
        scale *= 2;
      }
    }
    iteration += 1;
  }
  Parameters p;
  double scale;
  int hysteresis;
  std::int64_t iteration = 0;
  std::int64_t last_overflow = -1;
  bool raised = false;
};

// Apex's update_scale_hysteresis kernel: early return while hysteresis lasts, refilled by every clean step.
struct ApexKernelScaler {
  explicit ApexKernelScaler(const Parameters& p) : p(p), scale(static_cast<float>(p.init)), hysteresis(p.hysteresis) {}
  void Update(bool found_inf) {
    if (found_inf) {
      hysteresis -= 1;
      growth = 0;
      if (hysteresis > 0) return;
      scale *= 0.5f;
      return;
    }
    growth += 1;
    if (growth == p.interval) {
      const float grown = scale * 2.0f;
      if (std::isfinite(grown)) scale = grown;
      growth = 0;
    }
    hysteresis = p.hysteresis;
  }
  Parameters p;
  float scale;
  int hysteresis;
  std::int64_t growth = 0;
};

ScalerSettings OursFor(const Parameters& p) {
  ScalerSettings settings = SmallScaler();
  settings.init = p.init;
  settings.growth_interval = static_cast<std::int32_t>(p.interval);
  settings.hysteresis = p.hysteresis;
  settings.consecutive_hysteresis = p.consecutive ? 1 : 0;
  settings.min = p.min;
  settings.max = p.max;
  return settings;
}

// A preset as a spec names it, without the limits that the originals do not have.
ScalerSettings PresetWithoutLatch(v1::LossScaleSpec::Preset preset) {
  v1::PrecisionSpec precision;
  precision.set_mode(v1::PrecisionSpec::FP16);
  precision.mutable_loss_scale()->set_preset(preset);
  ScalerSettings settings = ScalerSettingsFrom(precision, /*max_grad_norm=*/1);
  settings.latch = 0;
  return settings;
}

constexpr int kTraces = 10'000;
constexpr int kLongTraces = 2'500;

// What the traces of one comparison went through, so that none passes for want of events.
struct Seen {
  std::int64_t grew = 0;
  std::int64_t held = 0;  // an overflow without a backoff
  std::int64_t fell = 0;
};

// One trace, compared after each update. It ends where an original that keeps a Python float goes where FP32 cannot
// follow.
template <class Original>
void ExpectSameTrace(Original original, LossScaler ours, double share, int updates, std::mt19937_64& random,
                     Seen& seen) {
  std::bernoulli_distribution overflow(share);
  for (int i = 0; i < updates; ++i) {
    const bool found_inf = overflow(random);
    const double before = original.scale;
    original.Update(found_inf);
    ours.Update(found_inf);
    if (original.scale > FLT_MAX || (original.scale > 0 && original.scale < 0x1p-149)) return;
    ASSERT_EQ(ours.scale(), original.scale) << "update " << i << ", share " << share;
    seen.grew += original.scale > before ? 1 : 0;
    seen.fell += original.scale < before ? 1 : 0;
    seen.held += found_inf && original.scale == before ? 1 : 0;
  }
}

// Small machines, drawn anew for every trace within what the original can do.
template <class Original>
Seen CompareWithRandomSettings(const std::vector<int>& hystereses, const std::vector<bool>& consecutive,
                               const std::vector<double>& floors, double max = 0) {
  std::mt19937_64 random(11);
  const auto any = [&](const auto& values) {
    return values[std::uniform_int_distribution<std::size_t>(0, values.size() - 1)(random)];
  };
  Seen seen;
  for (int trace = 0; trace < kTraces && !testing::Test::HasFatalFailure(); ++trace) {
    Parameters parameters;
    parameters.init = any(std::vector<double>{1, 16, 64, 65536, 0x1p100});
    parameters.interval = std::uniform_int_distribution<std::int64_t>(1, 8)(random);
    parameters.hysteresis = any(hystereses);
    parameters.consecutive = any(consecutive);
    parameters.min = any(floors);
    parameters.max = max;
    if (max > 0) parameters.init = std::min(parameters.init, max);
    // From rare to nearly always.
    const double share = std::exp2(-std::uniform_real_distribution<double>(0.1, 7)(random));
    ExpectSameTrace(Original(parameters), LossScaler(OursFor(parameters)), share, 100, random, seen);
  }
  return seen;
}

// The preset's own figures, in traces long enough that its scale grows.
template <class Original>
Seen CompareWithPreset(v1::LossScaleSpec::Preset preset, const Parameters& original) {
  std::mt19937_64 random(12);
  Seen seen;
  for (int trace = 0; trace < kLongTraces && !testing::Test::HasFatalFailure(); ++trace) {
    const double share = std::exp2(-std::uniform_real_distribution<double>(0.1, 15)(random));
    ExpectSameTrace(Original(original), LossScaler(PresetWithoutLatch(preset)), share, 4500, random, seen);
  }
  return seen;
}

TEST(OriginalScalersTest, EqualsPyTorchsOnRandomTraces) {
  const Seen seen = CompareWithRandomSettings<PyTorchScaler>({1}, {false}, {0});
  EXPECT_GT(std::min(seen.grew, seen.fell), kTraces);
}

TEST(OriginalScalersTest, EqualsApexsOnRandomTraces) {
  const Seen seen = CompareWithRandomSettings<ApexScaler>({1}, {false}, {0, 0.25, 4}, /*max=*/64);
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kTraces);
}

TEST(OriginalScalersTest, EqualsMegatronsOnRandomTraces) {
  const Seen seen = CompareWithRandomSettings<MegatronScaler>({1, 2, 3, 4}, {false}, {1, 0.25});
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kTraces);
}

TEST(OriginalScalersTest, EqualsDeepSpeedsOnRandomTraces) {
  const Seen seen = CompareWithRandomSettings<DeepSpeedScaler>({1, 2, 3, 4}, {false, true}, {1, 0.25});
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kTraces);
}

TEST(OriginalScalersTest, EqualsApexsHysteresisKernelOnRandomTraces) {
  const Seen seen = CompareWithRandomSettings<ApexKernelScaler>({1, 2, 3, 4}, {true}, {0});
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kTraces);
}

TEST(OriginalScalersTest, ThePresetTorchIsPyTorchs) {
  const Seen seen =
      CompareWithPreset<PyTorchScaler>(v1::LossScaleSpec::TORCH, {.init = 0x1p16, .interval = 2000, .min = 0});
  EXPECT_GT(std::min(seen.grew, seen.fell), kLongTraces / 4);
}

TEST(OriginalScalersTest, ThePresetMegatronIsMegatrons) {
  const Seen seen = CompareWithPreset<MegatronScaler>(v1::LossScaleSpec::MEGATRON,
                                                      {.init = 0x1p32, .interval = 1000, .hysteresis = 2});
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kLongTraces / 4);
}

TEST(OriginalScalersTest, ThePresetDeepspeedIsDeepSpeeds) {
  const Seen seen = CompareWithPreset<DeepSpeedScaler>(v1::LossScaleSpec::DEEPSPEED,
                                                       {.init = 0x1p16, .interval = 1000, .hysteresis = 2});
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kLongTraces / 4);
}

TEST(OriginalScalersTest, ThePresetApexIsApexs) {
  const Seen seen = CompareWithPreset<ApexScaler>(v1::LossScaleSpec::APEX,
                                                  {.init = 0x1p16, .interval = 2000, .min = 0, .max = 0x1p24});
  EXPECT_GT(std::min(seen.grew, seen.fell), kLongTraces / 4);
}

TEST(OriginalScalersTest, ThePresetApexHysteresisIsApexsKernel) {
  const Seen seen = CompareWithPreset<ApexKernelScaler>(
      v1::LossScaleSpec::APEX_HYSTERESIS,
      {.init = 0x1p16, .interval = 2000, .hysteresis = 2, .consecutive = true, .min = 0});
  EXPECT_GT(std::min({seen.grew, seen.fell, seen.held}), kLongTraces / 4);
}

TEST(OriginalScalersTest, HaltsAtTheFloorWhereDeepSpeedRaises) {
  std::mt19937 random(5);
  std::bernoulli_distribution overflow(0.6);
  for (int trace = 0; trace < 100; ++trace) {
    const Parameters parameters{.interval = 3, .hysteresis = 1 + trace % 3, .consecutive = trace % 2 == 0};
    DeepSpeedScaler original(parameters);
    ScalerSettings settings = OursFor(parameters);
    settings.latch = 1;
    settings.halt_at_floor = 1;
    settings.max_skips_in_row = 1000;
    LossScaler ours(settings);
    for (int i = 0; i < 400 && !original.raised; ++i) {
      const bool found_inf = overflow(random);
      original.Update(found_inf);
      ours.Update(found_inf);
      ASSERT_EQ(ours.halt() == Halt::kScaleAtFloor, original.raised) << "trace " << trace << ", update " << i;
    }
    ASSERT_TRUE(original.raised) << "trace " << trace;
  }
}

}  // namespace
}  // namespace mantissa::trainer
