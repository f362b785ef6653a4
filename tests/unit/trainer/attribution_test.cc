// Overflow planted in a random place of a random model: the skip says why, and the replay says where.
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/overflow_cause.h"
#include "worker/trainer/replay.h"

namespace mantissa::trainer {
namespace {

using Stage = FaultLocation::Stage;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int kCases = 210;
constexpr std::int64_t kWindow = 2;  // the fault's: two iterations are applied before it
constexpr std::array<Stage, 5> kStages = {Stage::kInput, Stage::kActivation, Stage::kActivationGradient,
                                          Stage::kWeightGradient, Stage::kAccumulatedSum};

struct Case {
  std::string mode;
  std::string model;
  std::vector<std::int64_t> features;  // empty: a language model
  int accumulation = 1;
  Stage stage = Stage::kInput;
  std::uint32_t seed = 0;
};

Case Draw(int number, std::mt19937& random) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  Case drawn;
  drawn.seed = random();
  drawn.mode = std::array{"FP32", "BF16", "FP16"}[static_cast<std::size_t>(number % 3)];
  drawn.stage = kStages[static_cast<std::size_t>(number / 3 % 5)];
  drawn.accumulation = pick(drawn.stage == Stage::kAccumulatedSum ? 2 : 1, 4);
  // Tokens are whole numbers: nothing can overflow in them.
  switch (pick(0, drawn.stage == Stage::kInput ? 1 : 2)) {
    case 0: {
      drawn.model =
          absl::StrCat("mlp { activation: ", std::array{"RELU", "GELU", "TANH"}[static_cast<size_t>(pick(0, 2))]);
      for (int i = pick(1, 3); i > 0; --i) absl::StrAppend(&drawn.model, " hidden: ", pick(4, 24));
      drawn.model += " }";
      drawn.features = {pick(3, 12)};
      break;
    }
    case 1:
      drawn.model = absl::StrCat("transformer_encoder { layers: ", pick(1, 2), " d_model: ", 8 * pick(1, 2),
                                 " heads: ", 2 * pick(1, 2), " }");
      drawn.features = {pick(2, 5), pick(0, 1) == 0 ? 8 : 5};
      break;
    default:
      drawn.model = absl::StrCat("gpt { layers: ", pick(1, 2), " d_model: ", 8 * pick(1, 2), " heads: 2 context: 6 }");
  }
  return drawn;
}

// What is to be found, and what was.
struct Outcome {
  SkipCause cause = SkipCause::kNone;  // the truth
  std::string module;
  std::int64_t micro_batch = 0;
  IterationReport report;  // of the skip, before the replay
  std::optional<FaultLocation> location;
};

class PlantedRun {
 public:
  explicit PlantedRun(const Case& drawn) : drawn_(drawn), random_(drawn.seed) {
    const std::string data = drawn.features.empty()
                                 ? "data { train { synthetic { samples: 40 classes: 9 } } }"
                                 : absl::StrCat("data { train { synthetic { samples: 40 ",
                                                drawn.features.size() > 1 ? "shape: 1 " : "", "} } }");
    const std::string changes =
        absl::StrCat("model { ", drawn.model, " } batch_size: 8 accumulation: ", drawn.accumulation,
                     " precision { mode: ", drawn.mode, " loss_scale { init: 256 } } seed: ", drawn.seed % 1000);
    auto watched = std::make_unique<WatchedData>(Data(changes));
    data_ = watched.get();
    run_ = std::make_unique<SmallRun>(changes, SmallRunOptions{std::move(watched), &probe_, /*replay_after=*/2});
  }

  Outcome Run() {
    run_->TrainTo(kWindow);
    EXPECT_EQ(run_->state().step_state().step, kWindow) << "skipped before anything was planted";
    Plant();
    FakeControl control;
    EXPECT_TRUE(run_->program().Run(kWindow, control));
    const StepState step = run_->state().step_state();
    outcome_.report.record = RecordFrom(step);
    outcome_.report.offenders = Offenders(run_->state().iteration_state().ReadStats());
    outcome_.report.record.cause = CauseOf(outcome_.report.record.cause, outcome_.report.offenders,
                                           run_->state().model().parameters().parameters());
    outcome_.cause = std::isfinite(step.loss) ? SkipCause::kOverflow : SkipCause::kNanForward;
    if (outcome_.report.record.halt == Halt::kReplay) {
      outcome_.location = Replay(run_->state(), run_->program()).Locate(outcome_.report.record, control);
    }
    return outcome_;
  }

 private:
  // Features are drawn here, so that one of them can be made to overflow.
  std::unique_ptr<Dataset> Data(const std::string& changes) {
    if (drawn_.features.empty()) {
      auto data = LoadTrainingData(SmallSpec(changes).training(), process::Roots(), std::int64_t{1} << 30);
      return std::move(data->train);
    }
    std::vector<std::int64_t> sizes = drawn_.features;
    sizes.insert(sizes.begin(), 40);
    at::manual_seed(drawn_.seed);
    features_ = at::randn(sizes);
    return std::make_unique<FeatureDataset>(features_, at::randint(0, 3, {40}, at::kLong), 3);
  }

  std::int64_t Pick(std::int64_t below) { return std::uniform_int_distribution<std::int64_t>(0, below - 1)(random_); }

  // A sample of that micro-batch.
  std::int64_t SampleOf(std::int64_t micro_batch) {
    std::vector<std::int64_t> samples;
    run_->plan().MicroBatch(kWindow, micro_batch, samples);
    return samples[static_cast<std::size_t>(Pick(static_cast<std::int64_t>(samples.size())))];
  }

  // A module with parameters of its own.
  std::string PickOwner(std::string* parameter) {
    for (;;) {
      const std::string module = PickModule();
      for (const Parameter& owned : run_->state().model().parameters().parameters()) {
        if (owned.shape.path != module + (Pick(2) == 0 ? ".weight" : ".bias")) continue;
        *parameter = owned.shape.path;
        return module;
      }
    }
  }
  std::string PickModule() {
    const std::vector<std::string>& modules = probe_.modules();
    return modules[static_cast<std::size_t>(Pick(static_cast<std::int64_t>(modules.size())))];
  }

  void Plant() {
    const std::int64_t micro_batches = run_->plan().MicroBatches(kWindow);
    const std::int64_t micro_batch = Pick(micro_batches);
    const std::int64_t sample = SampleOf(micro_batch);
    outcome_.micro_batch = micro_batch;
    const auto here = [this, sample] { return data_->holds(sample); };
    const std::int64_t place = Pick(1 << 20);
    switch (drawn_.stage) {
      case Stage::kInput: {
        // Half of the time something that only the format's end makes infinite.
        const double large = drawn_.mode == "FP16" ? 1e5 : drawn_.mode == "BF16" ? 3.4e38 : kInf;
        at::Tensor row = features_[sample].view(-1);
        row[place % row.numel()] = Pick(2) == 0 ? kInf : large;
        break;
      }
      case Stage::kActivation:
        outcome_.module = PickModule();
        probe_.Plant(
            outcome_.module,
            [here, place](const at::Tensor& output) {
              return here() ? WithElement(output, place % output.numel(), kInf) : output;
            },
            nullptr);
        break;
      case Stage::kActivationGradient:
        outcome_.module = PickModule();
        probe_.Plant(outcome_.module, nullptr, [this, here, place](const at::Tensor& gradient) {
          if (!here()) return gradient;
          // Where a ReLU lets it through.
          const at::Tensor open = probe_.seen().reshape({-1}).nonzero().view(-1);
          return WithElement(gradient, open[place % open.numel()].item<std::int64_t>(), kInf);
        });
        break;
      case Stage::kWeightGradient:
      case Stage::kAccumulatedSum:
        PlantInParameter(here, place);
        break;
      default:
        FAIL();
    }
  }

  void PlantInParameter(const std::function<bool()>& here, std::int64_t place) {
    std::string parameter;
    outcome_.module = PickOwner(&parameter);
    at::Tensor gradient = run_->state().model().parameters().at(parameter).grad().view(-1);
    gradient = gradient.narrow(0, place % gradient.numel(), 1);
    double value = kInf;
    if (drawn_.stage == Stage::kAccumulatedSum) {
      // Finite in each of two micro-batches.
      value = 3e38;
      if (outcome_.micro_batch == 0) outcome_.micro_batch = run_->plan().MicroBatches(kWindow) - 1;
      const std::int64_t earlier = SampleOf(Pick(outcome_.micro_batch));
      const std::int64_t later = SampleOf(outcome_.micro_batch);
      probe_.Plant(outcome_.module, nullptr, [this, earlier, later, gradient, value](const at::Tensor& passed) {
        if (data_->holds(earlier) || data_->holds(later)) gradient.add_(value);
        return passed;
      });
      return;
    }
    probe_.Plant(outcome_.module, nullptr, [here, gradient, value](const at::Tensor& passed) {
      if (here()) gradient.add_(value);
      return passed;
    });
  }

  const Case drawn_;
  std::mt19937 random_;
  FaultProbe probe_;
  at::Tensor features_;
  const WatchedData* data_ = nullptr;
  std::unique_ptr<SmallRun> run_;
  Outcome outcome_;
};

TEST(AttributionTest, TheSkipNamesTheCauseAndTheReplayThePlace) {
  std::mt19937 random(4);
  int named = 0;
  for (int number = 0; number < kCases; ++number) {
    const Case drawn = Draw(number, random);
    SCOPED_TRACE(absl::StrCat("case ", number, ": ", drawn.mode, " ", drawn.model, " stage ",
                              static_cast<int>(drawn.stage), " accumulation ", drawn.accumulation));
    const Outcome outcome = PlantedRun(drawn).Run();
    const IterationRecord& record = outcome.report.record;
    ASSERT_FALSE(record.applied);
    named += record.cause == outcome.cause ? 1 : 0;
    ASSERT_TRUE(outcome.location.has_value());
    EXPECT_EQ(outcome.location->stage, drawn.stage);
    EXPECT_EQ(outcome.location->module, outcome.module);
    EXPECT_EQ(outcome.location->micro_batch, outcome.micro_batch);
    EXPECT_EQ(CauseAt(*outcome.location, record.cause), outcome.cause);
  }
  EXPECT_GE(named * 100, kCases * 95) << named << " of " << kCases;
  RecordProperty("cause_named_by_the_skip_alone", named);
}

TEST(OverflowCauseTest, NanInAWeightWhoseBiasIsFiniteIsAProductWithAnOverflow) {
  SmallRun run("model { mlp { hidden: 4 } }");
  const std::vector<Parameter>& parameters = run.state().model().parameters().parameters();
  constexpr std::size_t kWeight = 0, kBias = 1, kHead = 2;
  ASSERT_EQ(parameters[kBias].shape.path, "layers.0.bias");
  const auto cause = [&](SkipCause counted, const std::vector<Offender>& offenders) {
    return CauseOf(counted, offenders, parameters);
  };
  EXPECT_EQ(cause(SkipCause::kNanBackward, {{kWeight, 0, 3}}), SkipCause::kOverflow);
  EXPECT_EQ(cause(SkipCause::kNanBackward, {{kHead, 0, 1}, {kBias, 0, 1}, {kWeight, 0, 3}}), SkipCause::kOverflow)
      << "the head's own bias is finite";
  EXPECT_EQ(cause(SkipCause::kNanBackward, {{kBias, 0, 1}, {kWeight, 0, 3}}), SkipCause::kNanBackward);
  EXPECT_EQ(cause(SkipCause::kNanBackward, {{kWeight, 0, 3}, {kBias, 0, 1}}), SkipCause::kNanBackward);
  EXPECT_EQ(cause(SkipCause::kNanForward, {{kWeight, 0, 3}}), SkipCause::kNanForward);
  EXPECT_EQ(cause(SkipCause::kNanBackward, {}), SkipCause::kNanBackward);
}

// Adds `value` to one element of a parameter's gradient in every backward pass.
void PlantInGradient(SmallRun& run, FaultProbe& probe, const std::string& module, std::int64_t place, double value) {
  at::Tensor gradient = run.state().model().parameters().at(module + ".weight").grad().view(-1);
  gradient = gradient.narrow(0, place % gradient.numel(), 1);
  probe.Plant(module, nullptr, [gradient, value](const at::Tensor& passed) {
    at::Tensor(gradient).add_(value);
    return passed;
  });
}

TEST(AttributionTest, LargeFiniteGradientsAreNoOverflow) {
  // Their squares leave FP32, and a norm made of FP32 sums would be infinite.
  for (const std::string mode : {"FP32", "BF16", "FP16"}) {
    for (const double value : {1e19, 1e22, 1e26, 1e30}) {
      SCOPED_TRACE(absl::StrCat(mode, " ", value));
      FaultProbe probe;
      SmallRun run(absl::StrCat("model { mlp { hidden: 8 } } precision { mode: ", mode, " loss_scale { init: 256 } }"),
                   SmallRunOptions{.probe = &probe});
      PlantInGradient(run, probe, "head", 5, value);
      run.TrainTo(1);
      const StepState step = run.state().step_state();
      EXPECT_EQ(step.found_inf, 0);
      EXPECT_EQ(step.step, 1);
      EXPECT_NEAR(step.grad_norm * step.used_loss_scale, value, 1e-5 * value);
      EXPECT_TRUE(Offenders(run.state().iteration_state().ReadStats()).empty());
      EXPECT_TRUE(run.state().IsFinite());
    }
  }
}

TEST(AttributionTest, OneInfinityAmongMillionsIsNotMissed) {
  std::mt19937 random(9);
  for (const std::string mode : {"FP32", "BF16", "FP16"}) {
    FaultProbe probe;
    SmallRun run(absl::StrCat("model { mlp { hidden: 2048 } } batch_size: 4 precision { mode: ", mode,
                              " loss_scale { init: 256 } }"),
                 SmallRunOptions{.data = ConstantData(0.01F, 8, 1024), .probe = &probe});
    ASSERT_GT(run.state().model().parameters().count(), 2'000'000);
    for (int i = 1; i <= 4; ++i) {
      PlantInGradient(run, probe, "layers.0", static_cast<std::int64_t>(random() % 2'000'000), kInf);
      run.TrainTo(i);
      const std::vector<Offender> offenders = Offenders(run.state().iteration_state().ReadStats());
      ASSERT_EQ(offenders.size(), 1u) << mode;
      EXPECT_EQ(offenders[0].inf_count, 1);
      EXPECT_EQ(offenders[0].nan_count, 0);
      EXPECT_EQ(run.state().step_state().step, 0);
    }
  }
}

}  // namespace
}  // namespace mantissa::trainer
