// The presets against the state machines that they are named after, each written down here from its project's own
// rules, with its own counters. Random traces are seeded; every update is compared.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/unit/amp/scaler_trace.h"

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

// Seeded traces with rare, frequent and mostly overflows, compared after each update.
template <class Original>
void ExpectSameScales(const Parameters& parameters) {
  std::mt19937 random(11);
  for (const double share : {0.02, 0.2, 0.5, 0.8}) {
    std::bernoulli_distribution overflow(share);
    Original original(parameters);
    LossScaler ours(OursFor(parameters));
    double lowest = original.scale, highest = original.scale;
    for (int i = 0; i < 600; ++i) {
      const bool found_inf = overflow(random);
      original.Update(found_inf);
      ours.Update(found_inf);
      // Some originals keep a Python float, which goes where FP32 cannot follow.
      if (original.scale > FLT_MAX || (original.scale > 0 && original.scale < 0x1p-149)) break;
      ASSERT_EQ(ours.scale(), original.scale) << "update " << i << ", share " << share;
      lowest = std::min<double>(lowest, original.scale);
      highest = std::max<double>(highest, original.scale);
    }
    ASSERT_LT(lowest, highest);  // something happened
  }
}

TEST(OriginalScalersTest, EqualsPyTorchsOnRandomTraces) {
  for (const std::int64_t interval : {1, 2, 5}) {
    ExpectSameScales<PyTorchScaler>({.init = 65536, .interval = interval, .min = 0});
    ExpectSameScales<PyTorchScaler>({.init = 0x1p125, .interval = interval, .min = 0});
  }
}

TEST(OriginalScalersTest, EqualsApexsOnRandomTraces) {
  for (const std::int64_t interval : {1, 2, 5}) {
    for (const double min : {0.0, 4.0}) {
      ExpectSameScales<ApexScaler>({.interval = interval, .min = min, .max = 64});
    }
  }
}

TEST(OriginalScalersTest, EqualsMegatronsOnRandomTraces) {
  for (const std::int64_t interval : {2, 3, 5}) {
    for (const int hysteresis : {1, 2, 3}) {
      ExpectSameScales<MegatronScaler>({.interval = interval, .hysteresis = hysteresis});
    }
  }
}

TEST(OriginalScalersTest, EqualsDeepSpeedsOnRandomTraces) {
  for (const std::int64_t interval : {2, 3, 5}) {
    for (const int hysteresis : {1, 2, 3}) {
      for (const bool consecutive : {false, true}) {
        ExpectSameScales<DeepSpeedScaler>({.interval = interval, .hysteresis = hysteresis, .consecutive = consecutive});
      }
    }
  }
}

TEST(OriginalScalersTest, EqualsApexsHysteresisKernelOnRandomTraces) {
  for (const std::int64_t interval : {1, 2, 5}) {
    for (const int hysteresis : {1, 2, 3}) {
      ExpectSameScales<ApexKernelScaler>(
          {.init = 65536, .interval = interval, .hysteresis = hysteresis, .consecutive = true, .min = 0});
    }
  }
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
