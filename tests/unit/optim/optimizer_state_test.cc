// What an optimizer keeps, what it is told, and what its ops refuse.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "proto/spec/defaults.h"
#include "tests/unit/optim/optimizer_subject.h"
#include "worker/kernels/cast_weights/stored_weight.h"

namespace mantissa::trainer {
namespace {

TEST(OptimizerStateTest, EachKindKeepsItsMomentsAndStartsThemAtZero) {
  const auto names = [](const v1::OptimizerSpec& spec) {
    Subject subject(spec);
    std::vector<std::string> names;
    for (const NamedTensor& flat : subject.optimizer.flat_state()) {
      names.push_back(flat.name);
      EXPECT_EQ(flat.tensor.sizes(), subject.parameters.values().sizes());
      EXPECT_EQ(flat.tensor.abs().max().item<float>(), 0);
    }
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(AdamWSpec()), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names(AdamSpec()), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names(SgdSpec(0.9, false)), (Names{"momentum"}));
  EXPECT_EQ(names(SgdSpec(0, false)), Names{});
}

TEST(OptimizerStateTest, StateTensorsAreNamedViewsOfTheMoments) {
  Subject subject(AdamWSpec());
  subject.DrawGradients(0);
  subject.Step(0, 1);
  const std::vector<NamedTensor> tensors = subject.optimizer.StateTensors();
  ASSERT_EQ(tensors.size(), 2 * Shapes().size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t parameter = i % Shapes().size();
    const NamedTensor& flat = subject.optimizer.flat_state()[i / Shapes().size()];
    EXPECT_EQ(tensors[i].name, flat.name + "." + Shapes()[parameter].path);
    EXPECT_EQ(tensors[i].tensor.sizes(), at::IntArrayRef(Shapes()[parameter].shape));
    EXPECT_EQ(tensors[i].tensor.const_data_ptr(), subject.parameters.ViewOf(flat.tensor, parameter).const_data_ptr());
    EXPECT_GT(tensors[i].tensor.abs().max().item<float>(), 0);
  }
  EXPECT_TRUE(Subject(SgdSpec(0, false)).optimizer.StateTensors().empty());
}

TEST(OptimizerSettingsTest, EveryFieldOfEachSpecArrives) {
  const OptimizerSettings adamw = Subject(AdamWSpec()).optimizer.settings();
  const OptimizerSettings adam = Subject(AdamSpec()).optimizer.settings();
  EXPECT_EQ(adamw.kind, OptimizerSettings::kAdamW);
  EXPECT_EQ(adam.kind, OptimizerSettings::kAdam);
  for (const OptimizerSettings& settings : {adamw, adam}) {
    EXPECT_EQ(settings.schedule.learning_rate, 0.02);
    EXPECT_EQ(settings.schedule.kind, Schedule::kLinear);
    EXPECT_EQ(settings.schedule.warmup_steps, 2);
    EXPECT_EQ(settings.schedule.horizon, kHorizon);
    EXPECT_EQ(settings.beta1, 0.8);
    EXPECT_EQ(settings.beta2, 0.95);
    EXPECT_EQ(settings.epsilon, 1e-3);
  }
  const OptimizerSettings sgd = Subject(SgdSpec(0.7, true, 0.3)).optimizer.settings();
  EXPECT_EQ(sgd.kind, OptimizerSettings::kSgd);
  EXPECT_EQ(sgd.schedule.learning_rate, 0.05);
  EXPECT_EQ(sgd.momentum, 0.7);
  EXPECT_EQ(sgd.nesterov, 1);
  EXPECT_EQ(Subject(SgdSpec(0.7, false)).optimizer.settings().nesterov, 0);
}

TEST(OptimizerSettingsTest, AJobThatNamesNoOptimizerGetsAdamWWithItsDefaults) {
  v1::JobSpec job;
  job.mutable_training()->mutable_model()->mutable_mlp();
  const v1::TrainingSpec training = spec::ResolveDefaults(job).training();
  const OptimizerSettings settings = Subject(training.optimizer(), training.schedule()).optimizer.settings();
  EXPECT_EQ(settings.kind, OptimizerSettings::kAdamW);
  EXPECT_EQ(settings.schedule.learning_rate, 1e-3);
  EXPECT_EQ(settings.schedule.kind, Schedule::kConstant);
  EXPECT_EQ(settings.beta1, 0.9);
  EXPECT_EQ(settings.beta2, 0.999);
  EXPECT_EQ(settings.epsilon, 1e-8);
}

std::vector<std::pair<double, double>> RulesOf(const v1::OptimizerSpec& spec,
                                               const spec::ParameterGroups& groups = {}) {
  const Subject subject(spec, Falling(), groups);
  std::vector<std::pair<double, double>> rules;
  for (const UpdateRule& rule : subject.optimizer.rules()) {
    rules.emplace_back(rule.rate_factor, rule.weight_decay);
  }
  return rules;
}

TEST(UpdateRuleTest, WithoutGroupsWeightsAndTablesDecayAndAllGoAtOneRate) {
  using ::testing::ElementsAre;
  using ::testing::Pair;
  EXPECT_THAT(RulesOf(AdamWSpec()), ElementsAre(Pair(1, 0.1), Pair(1, 0), Pair(1, 0), Pair(1, 0.1)));
  EXPECT_THAT(RulesOf(AdamSpec()), ElementsAre(Pair(1, 0.1), Pair(1, 0), Pair(1, 0), Pair(1, 0.1)));
  EXPECT_THAT(RulesOf(SgdSpec(0.7, true, 0.3)), ElementsAre(Pair(1, 0.3), Pair(1, 0), Pair(1, 0), Pair(1, 0.3)));
}

TEST(UpdateRuleTest, AGroupSetsTheRatioOfItsRateAndTheDecayOfAllItCovers) {
  using ::testing::ElementsAre;
  using ::testing::Pair;
  EXPECT_THAT(RulesOf(AdamWSpec(), Groups({{"up", 0.005, 0.4}, {"Embedding", 0.0, {}}})),
              ElementsAre(Pair(0.25, 0.4), Pair(0.25, 0.4), Pair(1, 0), Pair(0, 0.1)));
}

std::string MessageOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

using ::testing::HasSubstr;

TEST(OptimizerOpTest, BuffersThatDoNotFitAreRefused) {
  using at::Tensor;
  const Tensor flat = at::zeros({16}), shorter = at::zeros({8});
  const UpdateCall fits = {flat,
                           flat,
                           flat,
                           flat,
                           ChunkTensor({{0, 16, 0, 0}}),
                           BytesOf(UpdateRule()),
                           BytesOf(OptimizerSettings()),
                           BytesOf(StepState())};
  const auto said = [&](void (*op)(const UpdateCall&), const std::function<void(UpdateCall&)>& change) {
    UpdateCall call = fits;
    change(call);
    return MessageOf([&] { op(call); });
  };
  EXPECT_EQ(said(OpAdam, [](UpdateCall&) {}), "");
  EXPECT_EQ(said(OpSgd, [](UpdateCall&) {}), "");
  EXPECT_EQ(said(OpSgd, [](UpdateCall& call) { call.first = Tensor(); }), "");
  for (Tensor UpdateCall::*buffer : {&UpdateCall::gradients, &UpdateCall::first, &UpdateCall::second}) {
    const auto shorten = [&](UpdateCall& call) { call.*buffer = shorter; };
    EXPECT_THAT(said(OpAdam, shorten), HasSubstr("parameters, gradients and moments must have one layout"));
    if (buffer != &UpdateCall::second) {
      EXPECT_THAT(said(OpSgd, shorten), HasSubstr("one layout"));
    }
  }
  // FP32 and flat.
  EXPECT_THAT(said(OpSgd, [&](UpdateCall& call) { call.parameters = flat.to(at::kHalf); }),
              HasSubstr("parameters must be one flat FP32 buffer"));
  EXPECT_THAT(said(OpAdam,
                   [&](UpdateCall& call) {
                     call.gradients = flat.view({4, 4});
                   }),
              HasSubstr("gradients must be one flat FP32 buffer"));
  // Low copies: of a low type and flat, and told where they lie.
  for (void (*op)(const UpdateCall&) : {OpAdam, OpSgd}) {
    EXPECT_THAT(said(op, [&](UpdateCall& call) { call.low.weights = flat.to(at::kHalf); }),
                HasSubstr("places and weights come together"));
    EXPECT_THAT(said(op,
                     [&](UpdateCall& call) {
                       call.low = {BytesOf(StoredWeight()), flat};
                     }),
                HasSubstr("weights must be one flat FP16 or BF16 buffer"));
  }
}

}  // namespace
}  // namespace mantissa::trainer
