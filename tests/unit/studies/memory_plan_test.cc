#include "worker/studies/memory/memory_plan.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/study_place.h"
#include "worker/studies/run/study_training.h"
#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Precision = v1::PrecisionSpec;

v1::TrainingSpec Training(const std::string& text) { return WithDefaults(From<v1::TrainingSpec>(text)); }

// 64 x 128 + 128 and 128 x 10 + 10 parameters; weights alone are 9472.
constexpr char kMlp[] = "model { mlp { hidden: 128 } } data { train { synthetic {} } } batch_size: 16 ";
constexpr std::int64_t kCount = 9610;
constexpr std::int64_t kWeights = 9472;

PlannedMemory PlanOf(const std::string& training, Precision::Mode mode,
                     Precision::Storage storage = Precision::FP32_PARAMETERS) {
  const v1::TrainingSpec planned = InPlanned(Training(training), {mode, storage});
  return PlanMemory(planned, *spec::SampleShapeOf(planned));
}

// The text of every spec whose parts are summed below.
const std::vector<std::string> kModels = {
    kMlp, "model { gpt { layers: 2 } } data { train { text { files: 'a' } } }",
    "model { transformer_encoder {} } data { train { synthetic {} } } optimizer { sgd { momentum: 0 } }",
    "model { convnet {} } data { train { synthetic { shape: [8, 8] } } } optimizer { adam {} }"};

TEST(MemoryPlanTest, WithoutPrecisionsTheUsualOnesArePlanned) {
  EXPECT_THAT(PrecisionsOf({}), ElementsAre(PlannedPrecision{Precision::FP32, Precision::FP32_PARAMETERS},
                                            PlannedPrecision{Precision::BF16, Precision::FP32_PARAMETERS},
                                            PlannedPrecision{Precision::BF16, Precision::MASTER_FP32},
                                            PlannedPrecision{Precision::FP16, Precision::MASTER_FP32}));
}

TEST(MemoryPlanTest, ALowPrecisionIsPlannedWithEitherStorage) {
  EXPECT_THAT(PrecisionsOf(From<v1::MemoryPlan>("precisions: [FP16, TF32]")),
              ElementsAre(PlannedPrecision{Precision::FP16, Precision::FP32_PARAMETERS},
                          PlannedPrecision{Precision::FP16, Precision::MASTER_FP32},
                          PlannedPrecision{Precision::TF32, Precision::FP32_PARAMETERS}));
}

TEST(MemoryPlanTest, GradientsMomentsAndMastersAreAllCounted) {
  const PlannedMemory full = PlanOf(kMlp, Precision::FP32);
  ASSERT_EQ(full.groups.size(), 1U);
  EXPECT_EQ(full.groups[0].group(), "Linear");
  EXPECT_EQ(full.groups[0].parameters(), kCount);
  EXPECT_EQ(full.groups[0].weight_bytes(), 4 * kCount);
  EXPECT_EQ(full.groups[0].master_bytes(), 0);
  EXPECT_EQ(full.groups[0].gradient_bytes(), 4 * kCount);
  EXPECT_EQ(full.groups[0].optimizer_bytes(), 8 * kCount);
  EXPECT_EQ(full.total.cast_bytes(), 0);

  const PlannedMemory stored = PlanOf(kMlp, Precision::BF16, Precision::MASTER_FP32);
  // Weights that products read have a BF16 copy beside their masters; biases have none.
  EXPECT_EQ(stored.groups[0].weight_bytes(), 2 * kWeights + 4 * (kCount - kWeights));
  EXPECT_EQ(stored.groups[0].master_bytes(), 4 * kWeights);
  EXPECT_EQ(stored.groups[0].gradient_bytes(), 4 * kCount);
  EXPECT_EQ(stored.total.cast_bytes(), 0);

  const PlannedMemory cast = PlanOf(kMlp, Precision::BF16);
  EXPECT_EQ(cast.groups[0].weight_bytes(), 4 * kCount);
  EXPECT_EQ(cast.total.cast_bytes(), 2 * kWeights);
  EXPECT_EQ(cast.total.estimated_bytes(), stored.total.estimated_bytes());
}

TEST(MemoryPlanTest, GroupsAddUpToTotalsAndTotalsToTheEstimate) {
  for (const std::string& model : kModels) {
    for (const PlannedPrecision& precision : PrecisionsOf(From<v1::MemoryPlan>("precisions: [FP32, FP16, BF16]"))) {
      SCOPED_TRACE(model + Precision::Mode_Name(precision.mode));
      const PlannedMemory plan = PlanOf(model, precision.mode, precision.storage);
      std::int64_t weights = 0, gradients = 0, optimizer = 0;
      for (const v1::MemoryRow& row : plan.groups) {
        weights += row.weight_bytes() + row.master_bytes();
        gradients += row.gradient_bytes();
        optimizer += row.optimizer_bytes();
        EXPECT_EQ(row.precision(), precision.mode);
        EXPECT_EQ(row.storage(), precision.storage);
      }
      const v1::MemoryTotal& total = plan.total;
      EXPECT_EQ(total.parameter_bytes(), weights);
      EXPECT_EQ(total.gradient_bytes(), gradients);
      EXPECT_EQ(total.optimizer_bytes(), optimizer);
      EXPECT_GE(total.cast_bytes(), 0);
      EXPECT_EQ(total.estimated_bytes(),
                weights + gradients + optimizer + total.cast_bytes() + total.activation_bytes());
    }
  }
}

TEST(MemoryPlanTest, GroupsAreLayersOfATypeWhateverTheyAreCalled) {
  std::vector<std::string> names;
  for (const v1::MemoryRow& row : PlanOf(kModels[3], Precision::FP32).groups) names.push_back(row.group());
  EXPECT_THAT(names, ElementsAre("Conv2d", "BatchNorm2d", "Linear", "other"));
  // The bias of a linear layer is the layer's, and that of a norm the norm's: names say nothing of it.
  const PlannedMemory encoder = PlanOf(kModels[2], Precision::BF16, Precision::MASTER_FP32);
  ASSERT_EQ(encoder.groups.size(), 2U);
  EXPECT_EQ(encoder.groups[1].group(), "LayerNorm");
  EXPECT_EQ(encoder.groups[1].master_bytes(), 0);
  EXPECT_EQ(encoder.groups[1].weight_bytes(), 4 * encoder.groups[1].parameters());
}

TEST(MemoryPlanTest, OverridesAreOfOtherPrecisionsThanFp32) {
  const std::string text = std::string(kMlp) + "precision { overrides { match: 'head' compute: FP32 } }";
  EXPECT_EQ(PlanOf(text, Precision::BF16).total.cast_bytes(), 2 * 64 * 128);
  EXPECT_EQ(InPlanned(Training(text), {Precision::FP32, Precision::FP32_PARAMETERS}).precision().overrides_size(), 0);
}

TEST(MemoryPlanTest, WithoutAnAccumulationTheMicroBatchIsOneSample) {
  const std::string text = std::string(kMlp) + "micro_batch: AUTO";
  EXPECT_EQ(PlanOf(text, Precision::FP32).total.activation_bytes() * 16,
            PlanOf(kMlp, Precision::FP32).total.activation_bytes());
}

// 1000 bytes whatever the batch, 10 a sample, of 8 samples.
v1::MemoryTotal Total(std::int64_t measured = 0) {
  v1::MemoryTotal total;
  total.set_parameter_bytes(1000);
  total.set_activation_bytes(80);
  total.set_estimated_bytes(1080);
  if (measured > 0) total.set_measured_bytes(measured);
  return total;
}

TEST(LargestBatchTest, IsThePowerOfTwoThatFits) {
  EXPECT_EQ(LargestBatch(Total(), 8, 1009), 0);
  EXPECT_EQ(LargestBatch(Total(), 8, 1010), 1);
  EXPECT_EQ(LargestBatch(Total(), 8, 1039), 2);
  EXPECT_EQ(LargestBatch(Total(), 8, 1040), 4);
  EXPECT_EQ(LargestBatch(Total(), 8, 1000 + 10 * 1024), 1024);
}

TEST(LargestBatchTest, IsCorrectedByWhatWasMeasured) {
  // 40 a sample.
  EXPECT_EQ(LargestBatch(Total(1320), 8, 1040), 1);
  EXPECT_EQ(LargestBatch(Total(1320), 8, 1039), 0);
  // Less than is there without a batch: nothing a sample.
  EXPECT_EQ(LargestBatch(Total(900), 8, 1000), 1 << 30);
}

v1::MemoryPlanReport Report(const std::string& totals) { return From<v1::MemoryPlanReport>(totals); }

TEST(SavedSharesTest, AreOfEverythingAgainstFp32) {
  v1::MemoryPlanReport report = Report(
      "totals { precision: FP32 estimated_bytes: 1000 } totals { precision: BF16 estimated_bytes: 900 } "
      "totals { precision: FP16 estimated_bytes: 1100 measured_bytes: 500 }");
  SetSavedShares(report.totals(0), report);
  EXPECT_DOUBLE_EQ(report.totals(0).saved_share(), 0);
  EXPECT_NEAR(report.totals(1).saved_share(), 0.1, 1e-12);
  // One side was not measured.
  EXPECT_NEAR(report.totals(2).saved_share(), -0.1, 1e-12);
  v1::MemoryTotal full = report.totals(0);
  full.set_measured_bytes(2000);
  SetSavedShares(full, report);
  EXPECT_DOUBLE_EQ(report.totals(2).saved_share(), 0.75);
  EXPECT_NEAR(report.totals(1).saved_share(), 0.1, 1e-12);
}

TEST(MemoryFindingTest, FollowsTheRows) {
  EXPECT_THAT(
      MemoryFinding(Report("totals { precision: FP32 estimated_bytes: 100 saved_share: 0 } "
                           "totals { precision: BF16 estimated_bytes: 75 saved_share: 0.25 largest_batch: 64 }"),
                    1 << 20),
      AllOf(HasSubstr("BF16 saves most, 25.0 %"), HasSubstr("nothing was measured"),
            HasSubstr("fits 1.0 MiB at once is 64, in BF16")));
  EXPECT_THAT(MemoryFinding(Report("totals { precision: BF16 storage: MASTER_FP32 estimated_bytes: 110 "
                                   "measured_bytes: 99 saved_share: -0.1 largest_batch: 0 }"),
                            1 << 20),
              AllOf(HasSubstr("No low precision saves memory here: BF16 with MASTER_FP32, the best, takes 10.0 % more"),
                    HasSubstr("within 10.0 % of the estimates, in 1 row."), HasSubstr("Not even one sample fits")));
  EXPECT_THAT(MemoryFinding(Report("totals { precision: FP32 estimated_bytes: 1 saved_share: 0 }"), 1),
              AllOf(HasSubstr("No low precision was planned"), Not(HasSubstr("batch"))));
  EXPECT_EQ(MemoryFinding({}, 1), "Nothing was planned.");
}

TEST(MemoryFindingTest, PrecisionsThatDoEquallyWellAreAllNamed) {
  const v1::MemoryPlanReport report = Report(
      "totals { precision: FP32 estimated_bytes: 100 saved_share: 0 largest_batch: 32 } "
      "totals { precision: BF16 estimated_bytes: 75 saved_share: 0.25 largest_batch: 64 } "
      "totals { precision: BF16 storage: MASTER_FP32 estimated_bytes: 80 saved_share: 0.2 largest_batch: 64 } "
      "totals { precision: FP16 estimated_bytes: 75 saved_share: 0.25 largest_batch: 16 }");
  EXPECT_THAT(MemoryFinding(report, 1 << 20), AllOf(HasSubstr("BF16, FP16 save most, 25.0 %"),
                                                    HasSubstr("at once is 64, in BF16, BF16 with MASTER_FP32.")));
}

TEST(RunMemoryPlanTest, OnACpuEveryRowSaysThatItIsEstimated) {
  const StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  v1::MemoryPlan plan;
  *plan.mutable_training() = From<v1::TrainingSpec>(kMlp);
  plan.set_device_memory_bytes(1 << 20);
  plan.add_precisions(Precision::FP32);
  plan.add_precisions(Precision::TF32);
  plan.add_precisions(Precision::BF16);
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), observer, report).ok());
  const v1::MemoryPlanReport& result = report.memory_plan();
  ASSERT_EQ(result.totals_size(), 4);
  for (const v1::MemoryTotal& total : result.totals()) {
    EXPECT_FALSE(total.has_measured_bytes());
    EXPECT_THAT(total.note(), HasSubstr("ESTIMATED"));
    EXPECT_GT(total.largest_batch(), 0);
    EXPECT_TRUE(total.has_saved_share());
  }
  EXPECT_THAT(result.totals(1).note(), HasSubstr("UNSUPPORTED: cpu"));
  EXPECT_THAT(report.limits(), testing::Contains(HasSubstr("does not say what is allocated")));
  EXPECT_EQ(report.finding(), MemoryFinding(result, 1 << 20));
  EXPECT_EQ(observer.total, 4);
  EXPECT_EQ(observer.said.size(), 4U);
}

// The seed builds a layer of 4 TB to say so.
TEST(RunMemoryPlanTest, AModelThatNoDeviceHoldsIsPlannedAndNotBuilt) {
  const StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  v1::MemoryPlan plan;
  *plan.mutable_training() = From<v1::TrainingSpec>(
      "model { mlp { hidden: [1000000, 1000000] } } data { train { synthetic {} } } batch_size: 16");
  plan.set_device_memory_bytes(std::int64_t{80} << 30);
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), observer, report).ok());
  const v1::MemoryTotal& full = report.memory_plan().totals(0);
  EXPECT_GT(full.parameter_bytes(), 4'000'000'000'000);
  EXPECT_EQ(full.optimizer_bytes(), 2 * full.parameter_bytes());
  EXPECT_EQ(full.largest_batch(), 0);
  EXPECT_THAT(report.finding(), HasSubstr("Not even one sample fits 80.0 GiB"));
}

TEST(RunMemoryPlanTest, OfConvolutionsItSaysWhatIsNotCounted) {
  const StudyPlace place;
  FakeObserver observer;
  v1::MemoryPlan plan;
  plan.add_precisions(Precision::FP32);
  *plan.mutable_training() = From<v1::TrainingSpec>(
      "model { convnet {} } data { train { synthetic { shape: [8, 8] } } } optimizer { adam {} } batch_size: 4");
  v1::Report convolutions, linear;
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), observer, convolutions).ok());
  EXPECT_THAT(convolutions.limits(), testing::Contains(HasSubstr("workspace of convolutions")));
  *plan.mutable_training() = From<v1::TrainingSpec>(kMlp);
  FakeObserver again;
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), again, linear).ok());
  EXPECT_THAT(linear.limits(), Not(testing::Contains(HasSubstr("workspace of convolutions"))));
}

TEST(RunMemoryPlanTest, WithoutADeviceToPlanForItIsTheOneItRunsOn) {
  StudyPlace place;
  FakeObserver observer;
  v1::MemoryPlan plan;
  *plan.mutable_training() = From<v1::TrainingSpec>(kMlp);
  plan.add_precisions(Precision::FP32);
  v1::Report of_limit, whole;
  place.memory_limit_bytes = 1 << 20;
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), observer, of_limit).ok());
  EXPECT_THAT(of_limit.finding(), HasSubstr("1.0 MiB"));
  place.memory_limit_bytes = 0;
  FakeObserver again;
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), again, whole).ok());
  EXPECT_GT(whole.memory_plan().totals(0).largest_batch(), of_limit.memory_plan().totals(0).largest_batch());
}

TEST(RunMemoryPlanTest, SharesAreAgainstFp32WhereItIsNotPlannedToo) {
  const StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  v1::MemoryPlan plan;
  *plan.mutable_training() = From<v1::TrainingSpec>(kMlp);
  plan.add_precisions(Precision::BF16);
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), observer, report).ok());
  const double full = static_cast<double>(PlanOf(kMlp, Precision::FP32).total.estimated_bytes());
  const v1::MemoryTotal& low = report.memory_plan().totals(0);
  EXPECT_DOUBLE_EQ(low.saved_share(), 1 - static_cast<double>(low.estimated_bytes()) / full);
}

TEST(RunMemoryPlanTest, DataThatCannotBeReadIsAnErrorWithItsReason) {
  const StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  v1::MemoryPlan plan;
  *plan.mutable_training() =
      From<v1::TrainingSpec>("model { mlp {} } data { train { idx { images: 'images.idx' labels: 'labels.idx' } } }");
  const absl::Status failed = RunMemoryPlan(plan, place.environment(), observer, report);
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(ReasonOf(failed), v1::Reason::BAD_DATA);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("study.memory_plan.training.data.train.idx"));
}

TEST(RunMemoryPlanTest, AGroupThatCoversNothingIsAnErrorThatNamesIt) {
  const StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  v1::MemoryPlan plan;
  *plan.mutable_training() =
      From<v1::TrainingSpec>(std::string(kMlp) + "parameter_groups { match: 'tail' learning_rate: 1 }");
  const absl::Status failed = RunMemoryPlan(plan, place.environment(), observer, report);
  EXPECT_EQ(ReasonOf(failed), v1::Reason::BAD_SPEC);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("study.memory_plan.training.parameter_groups"));
}

TEST(RunMemoryPlanTest, AStoppedStudyKeepsWhatItHas) {
  const StudyPlace place;
  FakeObserver observer(1);
  v1::Report report;
  v1::MemoryPlan plan;
  *plan.mutable_training() = From<v1::TrainingSpec>(kMlp);
  ASSERT_TRUE(RunMemoryPlan(plan, place.environment(), observer, report).ok());
  EXPECT_TRUE(report.partial());
  EXPECT_EQ(report.memory_plan().totals_size(), 1);
  EXPECT_THAT(report.limits(), testing::Contains(HasSubstr("stopped after 1 of 4")));
}

}  // namespace
}  // namespace mantissa::trainer
