// On the GPU in deterministic mode: a run that is interrupted and goes on from its checkpoint's files gives, bit for
// bit, what it gives when it is left alone. Models large enough for kernels whose order of sums is not fixed.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/roots.h"
#include "tests/gpu/gpu_run.h"
#include "worker/trainer/lineage_start.h"
#include "worker/trainer/run_checkpoints.h"

namespace mantissa::trainer {
namespace {

using testing::IsEmpty;

constexpr std::int64_t kIterations = 200;
constexpr std::int64_t kGrowthInterval = 12;

constexpr char kMlp[] =
    "model { mlp { hidden: 512 hidden: 256 dropout: 0.1 } } accumulation: 3 "
    "data { train { synthetic { samples: 300 shape: 128 classes: 10 } } }";
constexpr char kEncoder[] =
    "model { transformer_encoder { layers: 2 d_model: 128 heads: 2 dropout: 0.1 } } accumulation: 3 "
    "data { train { synthetic { samples: 300 shape: 64 shape: 32 classes: 10 } } }";
constexpr char kGpt[] =
    "model { gpt { layers: 2 d_model: 128 heads: 2 context: 128 dropout: 0.1 } } accumulation: 3 "
    "data { train { synthetic { samples: 300 classes: 512 } } }";
constexpr char kConvnet[] =
    "model { convnet { channels: 32 channels: 64 } } accumulation: 3 "
    "data { train { synthetic { samples: 300 shape: 3 shape: 32 shape: 32 classes: 10 } } }";

struct Case {
  std::string name;
  std::string training;
  v1::PrecisionSpec::Mode mode;
};

void PrintTo(const Case& tested, std::ostream* out) { *out << tested.name; }

std::vector<Case> Cases(std::vector<v1::PrecisionSpec::Mode> modes) {
  std::vector<Case> cases;
  for (const auto& [model, training] :
       {std::pair{"Mlp", kMlp}, {"Encoder", kEncoder}, {"Gpt", kGpt}, {"Convnet", kConvnet}}) {
    for (const v1::PrecisionSpec::Mode mode : modes) {
      cases.push_back({absl::StrCat(model, v1::PrecisionSpec::Mode_Name(mode)), training, mode});
    }
  }
  return cases;
}

class GpuResumeTest : public testing::TestWithParam<Case> {
 protected:
  GpuResumeTest() : root_(*process::OpenRoot::Open({"checkpoints", folder_.path(), /*writable=*/true})) {}

  // It puts the process into deterministic mode; the next run that is made decides anew.
  static GpuRun Run(v1::PrecisionSpec::Mode mode) {
    const bool scaled = mode == v1::PrecisionSpec::FP16;
    return {kGpu, GetParam().training, mode, scaled ? "loss_scale { init: 1099511627776 growth_interval: 12 }" : "",
            /*deterministic=*/true};
  }

  // Through files.
  RunSnapshot SaveAndLoad(GpuRun& run, Manifest* manifest = nullptr) {
    const RunCheckpoints checkpoints(root_, {.job_id = "job-1",
                                             .attempt = 1,
                                             .storage_id = "s",
                                             .windows_per_epoch = 10,
                                             .execution_plan = {},
                                             .versions = {}});
    const auto saved = checkpoints.Save(run.state(), /*final=*/false, 1);
    EXPECT_TRUE(saved.ok()) << saved.status();
    google::protobuf::RepeatedPtrField<v1::Checkpoint> candidates;
    *candidates.Add() = checkpoints.Describe(*saved);
    auto loaded = checkpoints.Load(candidates);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    if (manifest != nullptr) *manifest = loaded->manifest;
    // The tensors lie in what was read.
    GpuRun holder = Run(GetParam().mode);
    EXPECT_TRUE(holder.state().Restore(loaded->snapshot).ok());
    return holder.state().Snapshot();
  }

  const TemporaryFolder folder_;
  const process::OpenRoot root_;
};

void TrainTo(std::int64_t iteration, GpuRun& run) {
  while (run.state().step_state().iteration < iteration) run.Iterate();
}

// In the middle of an epoch (10 windows, of 3 micro-batches each), of a growth window, and right after overflows.
TEST_P(GpuResumeTest, AnInterruptionChangesNoBit) {
  const bool scaled = GetParam().mode == v1::PrecisionSpec::FP16;
  GpuRun whole = Run(GetParam().mode);
  std::vector<std::int64_t> cuts = {3, 47, 101, 155};
  std::optional<std::int64_t> in_growth, after_overflow;
  for (std::int64_t i = 1; i <= kIterations; ++i) {
    const StepState state = whole.Iterate();
    if (scaled && i > 30 && state.growth_tracker == kGrowthInterval / 2) in_growth = i;
    if (i > 30 && state.found_inf != 0) after_overflow = i;
  }
  if (scaled) {
    ASSERT_TRUE(in_growth && after_overflow) << "no growth window and no overflow in mid-run";
    cuts.insert(cuts.end(), {*in_growth, *after_overflow});
  }
  const RunSnapshot end = whole.state().Snapshot();

  std::sort(cuts.begin(), cuts.end());
  std::optional<RunSnapshot> at_cut;
  for (const std::int64_t cut : cuts) {
    GpuRun piece = Run(GetParam().mode);
    if (at_cut) {
      ASSERT_TRUE(piece.state().Restore(*at_cut).ok());
    }
    TrainTo(cut, piece);
    at_cut = SaveAndLoad(piece);
  }
  GpuRun last = Run(GetParam().mode);
  ASSERT_TRUE(last.state().Restore(*at_cut).ok());
  TrainTo(kIterations, last);
  EXPECT_THAT(Differences(last.state().View(), end), IsEmpty());
  EXPECT_EQ(last.state().step_state().step, whole.state().step_state().step);
  EXPECT_EQ(last.state().step_state().loss_scale, whole.state().step_state().loss_scale);
}

class GpuFallbackTest : public GpuResumeTest {};

// What FALLBACK goes on from, and a cut right after it.
TEST_P(GpuFallbackTest, RightAfterItACutChangesNoBitEither) {
  GpuRun before = Run(v1::PrecisionSpec::FP16);
  TrainTo(60, before);
  Manifest manifest;
  const RunSnapshot saved = SaveAndLoad(before, &manifest);
  v1::Lineage lineage;
  lineage.set_number(2);
  lineage.set_precision(v1::PrecisionSpec::BF16);
  const auto begin = [&](GpuRun& run) {
    RunSnapshot snapshot = saved;
    BeginLineage(lineage, manifest, run.state().iteration_state().settings(), snapshot);
    EXPECT_TRUE(run.state().Restore(snapshot).ok());
    EXPECT_EQ(run.state().step_state().loss_scale, 1.0f);
  };
  GpuRun whole = Run(v1::PrecisionSpec::BF16);
  begin(whole);
  TrainTo(kIterations, whole);

  GpuRun first = Run(v1::PrecisionSpec::BF16);
  begin(first);
  TrainTo(61, first);
  GpuRun rest = Run(v1::PrecisionSpec::BF16);
  ASSERT_TRUE(rest.state().Restore(SaveAndLoad(first)).ok());
  TrainTo(kIterations, rest);
  EXPECT_THAT(Differences(rest.state().View(), whole.state().Snapshot()), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(ModelsAndPrecisions, GpuResumeTest,
                         testing::ValuesIn(Cases({v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16,
                                                  v1::PrecisionSpec::BF16})),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Models, GpuFallbackTest, testing::ValuesIn(Cases({v1::PrecisionSpec::FP16})),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mantissa::trainer
