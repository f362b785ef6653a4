// Iterations as recorded graphs: the bits of the eager engine, one launch each and nothing else, and a device that is
// as it was after a recording that failed.
#include <bit>
#include <cstdio>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/clock.h"
#include "tests/gpu/gpu_run.h"
#include "tests/gpu/host_calls.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/graph/graph_engine.h"

namespace mantissa::trainer {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// 300 samples in windows of 32: the last window of a pass has 12.
constexpr char kMlp[] =
    "model { mlp { hidden: 128 hidden: 64 dropout: 0.1 } } "
    "data { train { synthetic { samples: 300 shape: 64 classes: 10 } } }";
constexpr char kEncoder[] =
    "model { transformer_encoder { layers: 2 d_model: 64 heads: 2 dropout: 0.1 } } "
    "data { train { synthetic { samples: 300 shape: 32 shape: 16 classes: 10 } } }";
constexpr char kGpt[] =
    "model { gpt { layers: 2 d_model: 64 heads: 2 context: 64 dropout: 0.1 } } "
    "data { train { synthetic { samples: 300 classes: 256 } } }";
constexpr char kConvnet[] =
    "model { convnet { channels: 16 channels: 32 } } "
    "data { train { synthetic { samples: 300 shape: 3 shape: 16 shape: 16 classes: 10 } } }";

struct Case {
  std::string name;
  std::string training;
  v1::PrecisionSpec::Mode mode;
};

void PrintTo(const Case& tested, std::ostream* out) { *out << tested.name; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const auto& [model, training] :
       {std::pair{"Mlp", kMlp}, {"Encoder", kEncoder}, {"Gpt", kGpt}, {"Convnet", kConvnet}}) {
    for (const auto mode : {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16}) {
      for (const int accumulation : {1, 3}) {
        cases.push_back({absl::StrCat(model, v1::PrecisionSpec::Mode_Name(mode), accumulation),
                         absl::StrCat(training, " accumulation: ", accumulation), mode});
      }
    }
  }
  return cases;
}

const process::RealClock& TheClock() {
  static const process::RealClock clock;
  return clock;
}

absl::StatusOr<std::unique_ptr<GraphEngine>> Record(GpuRun& run, int in_flight = 4) {
  return GraphEngine::Record(run.state(), run.program(), OpenedPlugin().recorder, TheClock(), {.in_flight = in_flight});
}

// Nothing of its time.
std::string TextOf(const IterationReport& report) {
  const IterationRecord& record = report.record;
  std::string text = absl::StrCat(
      record.iteration, " ", record.step, " ", absl::Hex(std::bit_cast<std::uint64_t>(record.loss)), " ",
      record.loss_scale, " ", record.next_loss_scale, " ", static_cast<int>(record.cause), " ", record.learning_rate);
  if (record.grad_norm) absl::StrAppend(&text, " ", absl::Hex(std::bit_cast<std::uint64_t>(*record.grad_norm)));
  for (const Offender& offender : report.offenders) {
    absl::StrAppend(&text, " ", offender.parameter, ":", offender.inf_count, ":", offender.nan_count);
  }
  return text;
}

// Up to this iteration, with a boundary at every 25th step.
std::vector<std::string> Follow(Engine& engine, std::int64_t iterations) {
  NeverStop control;
  std::vector<std::string> reports;
  while (engine.progress().iteration < iterations) {
    engine.RunUntil({iterations, (engine.progress().step / 25 + 1) * 25}, control);
    for (const IterationReport& report : engine.Poll()) reports.push_back(TextOf(report));
  }
  return reports;
}

class GpuGraphTest : public testing::TestWithParam<Case> {
 protected:
  // Scales that overflow at first, so that iterations are skipped. Deterministic, or eager would not equal itself.
  static std::unique_ptr<GpuRun> Run() {
    const bool scaled = GetParam().mode == v1::PrecisionSpec::FP16;
    return std::make_unique<GpuRun>(kGpu, GetParam().training, GetParam().mode,
                                    scaled ? "loss_scale { init: 1099511627776 growth_interval: 12 }" : "",
                                    /*deterministic=*/true);
  }
};

TEST_P(GpuGraphTest, ItsBitsAndRecordsAreThoseOfTheEagerEngine) {
  const auto eager = Run();
  EagerEngine engine(eager->state(), eager->program(), TheClock());
  const std::vector<std::string> expected = Follow(engine, 120);
  ASSERT_THAT(expected, SizeIs(120));
  const RunSnapshot end = eager->state().Snapshot();
  if (GetParam().mode == v1::PrecisionSpec::FP16) {
    EXPECT_LT(end.step.step, 115) << "nothing was skipped";
  }
  for (const int in_flight : {1, 4}) {
    const auto recorded = Run();
    const RunSnapshot before = recorded->state().Snapshot();
    auto graphs = Record(*recorded, in_flight);
    ASSERT_TRUE(graphs.ok()) << graphs.status();
    EXPECT_THAT(Differences(recorded->state().View(), before), IsEmpty()) << "a recording changes nothing";
    const StepState untouched = recorded->state().step_state();
    EXPECT_EQ(std::memcmp(&before.step, &untouched, sizeof(untouched)), 0);
    EXPECT_EQ(Follow(**graphs, 120), expected);
    EXPECT_THAT(Differences(recorded->state().View(), end), IsEmpty());
    const StepState step = recorded->state().step_state();
    EXPECT_EQ(std::memcmp(&step, &end.step, sizeof(step)), 0);
    EXPECT_GT((*graphs)->pool_bytes(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(ModelsAndPrecisions, GpuGraphTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST(GpuGraphCallsTest, AnIterationIsOneLaunchAndNoOtherCallOfTheHost) {
  NeverStop control;
  GpuRun run(kGpu, absl::StrCat(kMlp, " iterations: 100000"), v1::PrecisionSpec::BF16);
  const auto engine = Record(run);
  ASSERT_TRUE(engine.ok()) << engine.status();
  // Both sizes of a window are recorded.
  while (!(*engine)->RunUntil({20, 100000}, control)) {
  }
  (*engine)->Poll();
  (*engine)->progress();  // reads the state, as at any boundary
  ForgetHostCalls();
  std::size_t reports = 0;
  while (reports < 2000) {
    (*engine)->RunUntil({100000, 100000}, control);
    reports += (*engine)->Poll().size();
  }
  const auto calls = HostCalls();
  (*engine)->Drain();
  // The first RunUntil read the state once more, with nothing in flight.
  int launches = 0;
  for (const auto& [name, count] : calls) {
    if (name == "cudaGraphLaunch") {
      launches = count;
    } else {
      EXPECT_LE(count, 1) << name;
    }
  }
  EXPECT_GE(launches, static_cast<int>(reports));
  EXPECT_LE(launches, static_cast<int>(reports) + 4);
  std::printf("graph: %zu iterations, %d launches\n", reports, launches);
  for (const auto& [name, count] : calls) std::printf("  %s: %d\n", name.c_str(), count);
}

// That calls are counted at all.
TEST(GpuGraphCallsTest, TheEagerEngineMakesManyCallsAndWaits) {
  NeverStop control;
  GpuRun run(kGpu, absl::StrCat(kMlp, " iterations: 100000"), v1::PrecisionSpec::BF16);
  EagerEngine engine(run.state(), run.program(), TheClock());
  while (!engine.RunUntil({5, 100000}, control)) {
  }
  ForgetHostCalls();
  while (!engine.RunUntil({105, 100000}, control)) {
  }
  auto calls = HostCalls();
  EXPECT_GT(calls["__cudaLaunchKernel"] + calls["cudaLaunchKernel"] + calls["cudaLaunchKernelExC"], 1000);
  EXPECT_GE(calls["cudaEventSynchronize"] + calls["cudaStreamSynchronize"], 100);
}

// Waits for the device, which nothing that is recorded may do.
class WaitingProbe final : public ActivationProbe {
 public:
  at::Tensor Pass(const std::string&, const at::Tensor& output) override {
    output.detach().sum().item<float>();
    return output;
  }
};

// Takes more memory than there is, but in rehearsals.
class HungryProbe final : public ActivationProbe {
 public:
  at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
    if (module == "head" && ++passes_ == 4) {
      at::empty({std::int64_t{1} << 42}, at::TensorOptions(at::kByte).device(kGpu));
    }
    return output;
  }

 private:
  int passes_ = 0;
};

template <class Probe>
void ExpectRecovery(const std::string& why) {
  const auto make = [] { return std::make_unique<GpuRun>(kGpu, kMlp, v1::PrecisionSpec::FP16, "", true); };
  const auto expected = make();
  for (int i = 0; i < 8; ++i) expected->Iterate();

  const auto run = make();
  for (int i = 0; i < 2; ++i) {
    Probe probe;
    const StepProgramOptions& options = run->program().options();
    StepProgram failing(run->state(), {options.data, options.plan, options.policy, options.seed, &probe});
    const auto engine =
        GraphEngine::Record(run->state(), failing, OpenedPlugin().recorder, TheClock(), GraphEngineOptions());
    ASSERT_FALSE(engine.ok());
    EXPECT_THAT(std::string(engine.status().message()), HasSubstr(why));
  }
  // The run goes on without, and another can be recorded.
  for (int i = 0; i < 4; ++i) run->Iterate();
  const auto engine = Record(*run);
  ASSERT_TRUE(engine.ok()) << engine.status();
  NeverStop control;
  while (!(*engine)->RunUntil({8, 100}, control)) {
  }
  EXPECT_THAT(Differences(run->state().View(), expected->state().Snapshot()), IsEmpty());
}

TEST(GpuGraphFailureTest, AfterAModelThatWaitsForTheDeviceAllIsAsItWas) { ExpectRecovery<WaitingProbe>("captur"); }

TEST(GpuGraphFailureTest, AfterOneThatFindsNoMemoryToo) { ExpectRecovery<HungryProbe>("out of memory"); }

TEST(GpuGraphFailureTest, NothingIsRecordedOnTheDefaultStream) {
  const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
  const c10::StreamGuard guard(cuda.getDefaultStream(kGpu));
  GpuRun run(kGpu, kMlp, v1::PrecisionSpec::FP32);
  EXPECT_THAT(std::string(Record(run).status().message()), HasSubstr("default stream"));
}

TEST(GpuGraphMemoryTest, WhatAnEngineTookComesBack) {
  const auto reserved = [] {
    at::accelerator::emptyCache();
    return at::accelerator::getDeviceStats(kGpu.index()).reserved_bytes[0].current;
  };
  GpuRun run(kGpu, kEncoder, v1::PrecisionSpec::BF16);
  run.Iterate();
  const auto before = reserved();
  for (int i = 0; i < 5; ++i) {
    const auto engine = Record(run);
    ASSERT_TRUE(engine.ok()) << engine.status();
    NeverStop control;
    (*engine)->RunUntil({100, 100}, control);
  }
  EXPECT_LE(reserved(), before + (std::int64_t{64} << 20)) << "a library may have made a workspace";
}

}  // namespace
}  // namespace mantissa::trainer
