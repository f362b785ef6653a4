#include "worker/trainer/execution_plan.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/small_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kOneThread = 60'000'000;  // multiply-adds that keep one thread busy

const Machine kMachine = {.threads = 8, .device = "cpu", .cpu_capability = "AVX2", .torch_version = "2.11.0"};

spec::SampleShape Features(std::vector<std::int64_t> sizes) { return {.features = std::move(sizes), .classes = 3}; }

TEST(ExecutionPlanTest, ASecondThreadIsTakenWhenItHasEnoughToDo) {
  EXPECT_EQ(ThreadsFor(1, 8), 1);
  EXPECT_EQ(ThreadsFor(2 * kOneThread - 1, 8), 1);
  EXPECT_EQ(ThreadsFor(2 * kOneThread, 8), 2);
  EXPECT_EQ(ThreadsFor(5 * kOneThread, 8), 5);
}

TEST(ExecutionPlanTest, ThreadsStayWithinWhatTheAttemptMayUse) {
  EXPECT_EQ(ThreadsFor(std::numeric_limits<std::int64_t>::max(), 8), 8);
  EXPECT_EQ(ThreadsFor(100 * kOneThread, 0), 1);
}

TEST(ExecutionPlanTest, OperationsAreThreeTimesTheParametersForEachRowTheyMeet) {
  const v1::JobSpec mlp = SmallSpec();  // a head of 6 x 3 and its 3 biases
  EXPECT_EQ(EstimateOperations(mlp.training(), Features({6}), 8), 21 * 8 * 3);

  const v1::TrainingSpec gpt = SmallSpec("model { gpt { d_model: 8 heads: 1 context: 16 } }").training();
  spec::SampleShape tokens;
  tokens.classes = 3;
  const std::int64_t parameters = spec::ParameterCount(spec::ModelParameters(gpt.model(), tokens));
  EXPECT_EQ(EstimateOperations(gpt, tokens, 8), parameters * 8 * 16 * 3);
}

TEST(ExecutionPlanTest, ASequenceModelMeetsARowForEveryTimeStep) {
  const v1::TrainingSpec flat = SmallSpec("model { transformer_encoder { d_model: 8 heads: 1 } }").training();
  const std::int64_t one = EstimateOperations(flat, Features({1, 6}), 8);
  EXPECT_EQ(EstimateOperations(flat, Features({5, 6}), 8), 5 * one);
  // One entry is no sequence.
  EXPECT_EQ(EstimateOperations(flat, Features({6}), 8), one);
}

TEST(ExecutionPlanTest, AKernelIsUsedAtEveryPlace) {
  const v1::TrainingSpec convnet = SmallSpec("model { convnet { channels: 4 } }").training();
  // 9 products for each of 4 x 8 x 8 results, and a head of 4 x 3.
  EXPECT_EQ(EstimateOperations(convnet, Features({8, 8}), 8), (4 * 8 * 8 * 9 + 4 * 3) * 8 * 3);
}

TEST(ExecutionPlanTest, AnEnormousModelReadsAsEnormous) {
  const v1::TrainingSpec huge =
      SmallSpec("model { mlp { hidden: 1048576 hidden: 1048576 } } batch_size: 1048576").training();
  EXPECT_EQ(EstimateOperations(huge, Features({1'000'000'000}), 1'048'576), std::numeric_limits<std::int64_t>::max());
}

TEST(ExecutionPlanTest, SaysWhatTheMachineIsAndHowTheSpecCutsAWindow) {
  const v1::JobSpec spec = SmallSpec("batch_size: 10 accumulation: 4 execution { deterministic: true }");
  const ExecutionPlan plan = MakePlan(spec, Features({6}), kMachine);
  EXPECT_EQ(plan.micro_batch, 3);  // of 3, 3, 3 and 1
  EXPECT_EQ(plan.threads, 1);
  EXPECT_TRUE(plan.deterministic);
  EXPECT_EQ(plan.device, "cpu");
  EXPECT_EQ(plan.cpu_capability, "AVX2");
  EXPECT_EQ(plan.torch_version, "2.11.0");
}

TEST(ExecutionPlanTest, TheSpecsThreadsAreObeyed) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_resources()->set_cpu_threads(5);
  EXPECT_EQ(MakePlan(spec, Features({6}), kMachine).threads, 5);
}

TEST(ExecutionPlanTest, LargeWorkGetsTheMachinesThreads) {
  const v1::JobSpec spec = SmallSpec("model { mlp { hidden: 4096 hidden: 4096 } } batch_size: 64");
  EXPECT_EQ(MakePlan(spec, Features({6}), kMachine).threads, 8);
}

class FollowPlanTest : public ::testing::Test {
 protected:
  std::int32_t ThreadsWhenSaved(const std::string& threads) {
    return FollowPlan(wanted_, {{"threads", threads}}, spec_, kMachine).threads;
  }

  v1::JobSpec spec_ = SmallSpec();
  const ExecutionPlan wanted_ = MakePlan(spec_, Features({6}), kMachine);
};

TEST_F(FollowPlanTest, AJobGoesOnWithTheThreadsItBeganWith) {
  EXPECT_EQ(wanted_.threads, 1);
  EXPECT_EQ(ThreadsWhenSaved("4"), 4);
  EXPECT_EQ(ThreadsWhenSaved("8"), 8);
}

TEST_F(FollowPlanTest, ThreadsThatThisMachineLacksAreNotFollowed) { EXPECT_EQ(ThreadsWhenSaved("9"), 1); }

TEST_F(FollowPlanTest, ThreadsThatAreNoneAreNotFollowed) {
  EXPECT_EQ(ThreadsWhenSaved("0"), 1);
  EXPECT_EQ(ThreadsWhenSaved("-2"), 1);
  EXPECT_EQ(ThreadsWhenSaved("many"), 1);
  EXPECT_EQ(FollowPlan(wanted_, {}, spec_, kMachine).threads, 1);
}

TEST_F(FollowPlanTest, TheSpecsThreadsComeBeforeTheSavedOnes) {
  spec_.mutable_resources()->set_cpu_threads(2);
  const ExecutionPlan wanted = MakePlan(spec_, Features({6}), kMachine);
  EXPECT_EQ(FollowPlan(wanted, {{"threads", "4"}}, spec_, kMachine).threads, 2);
}

TEST_F(FollowPlanTest, EverythingElseStaysAsThisMachineHasIt) {
  std::map<std::string, std::string> saved = PlanFields(wanted_);
  saved["device"] = "another";
  saved["micro_batch"] = "1";
  EXPECT_EQ(FollowPlan(wanted_, saved, spec_, kMachine), wanted_);
}

TEST_F(FollowPlanTest, AMicroBatchThatTheJobChoseForItselfIsFollowed) {
  spec_.mutable_training()->set_micro_batch(v1::MicroBatch::AUTO);
  const auto followed = [this](const std::string& saved) {
    return FollowPlan(wanted_, {{"micro_batch", saved}}, spec_, kMachine).micro_batch;
  };
  EXPECT_EQ(wanted_.micro_batch, 8);
  EXPECT_EQ(followed("3"), 3);
  for (const char* none : {"0", "-1", "9", "many", ""}) EXPECT_EQ(followed(none), 8) << none;
}

TEST(PlanDifferencesTest, APlanThatWasFollowedHasNone) {
  const ExecutionPlan plan = MakePlan(SmallSpec(), Features({6}), kMachine);
  EXPECT_THAT(PlanDifferences(PlanFields(plan), plan), IsEmpty());
}

TEST(PlanDifferencesTest, EveryFieldThatDiffersIsNamedWithBothValues) {
  const ExecutionPlan plan = {.threads = 1,
                              .deterministic = true,
                              .micro_batch = 4,
                              .device = "cpu",
                              .cpu_capability = "AVX2",
                              .torch_version = "2.11.0"};
  ExecutionPlan was = plan;
  was.threads = 2;
  EXPECT_THAT(PlanDifferences(PlanFields(was), plan), ElementsAre("threads (was 2, is 1)"));
  was = {.threads = 1,
         .deterministic = false,
         .micro_batch = 8,
         .device = "gpu",
         .cpu_capability = "AVX512",
         .torch_version = "2.10.0"};
  EXPECT_THAT(
      PlanDifferences(PlanFields(was), plan),
      ElementsAre("cpu_capability (was AVX512, is AVX2)", "deterministic (was false, is true)",
                  "device (was gpu, is cpu)", "micro_batch (was 8, is 4)", "torch_version (was 2.10.0, is 2.11.0)"));
}

TEST(PlanDifferencesTest, WhatTheManifestDoesNotSayIsUnknown) {
  const ExecutionPlan plan = MakePlan(SmallSpec(), Features({6}), kMachine);
  std::map<std::string, std::string> saved = PlanFields(plan);
  saved.erase("threads");
  EXPECT_THAT(PlanDifferences(saved, plan), ElementsAre("threads (was unknown, is 1)"));
}

}  // namespace
}  // namespace mantissa::trainer
