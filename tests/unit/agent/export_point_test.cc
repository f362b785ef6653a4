// What records and evaluations are to other tools, and which of them go.
#include "worker/agent/exporters/export_point.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/agent/export_segments.h"
#include "worker/agent/exporters/point_sampler.h"

namespace mantissa::agent {
namespace {

using std::chrono::milliseconds;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

std::map<std::string, double> Named(const ExportPoint& point) {
  std::map<std::string, double> named;
  for (const Scalar& scalar : point.scalars) named[scalar.tag] = scalar.value;
  return named;
}

std::vector<std::int64_t> Steps(const std::vector<ExportPoint>& points) {
  std::vector<std::int64_t> steps;
  for (const ExportPoint& point : points) steps.push_back(point.step);
  return steps;
}

TEST(ExportPoint, ARecordSaysWhatItHas) {
  const std::vector<ExportPoint> points = PointsOf(ExportRecords(2, 4));
  ASSERT_THAT(Steps(points), ElementsAre(2, 3, 4));
  EXPECT_THAT(Named(points[0]),
              ElementsAre(Pair("train/grad_norm", 0.5), Pair("train/loss", 2), Pair("train/overflow", 0)));
  EXPECT_THAT(Named(points[1]), ElementsAre(Pair("train/loss", 3), Pair("train/overflow", 1)))
      << "a skipped iteration has no grad norm";
  EXPECT_TRUE(points[1].skipped);
  EXPECT_EQ(points[2].time_unix_nanos, 4'000'000);
  EXPECT_THAT(Named(points[2]), Contains(Pair("train/grad_norm", 0.5)))
      << "values after an absent one are the right ones";
}

TEST(ExportPoint, AnEvaluationSaysWhatWasMeasured) {
  v1::Segment segment;
  v1::JobEvent& event = *segment.mutable_event();
  event.set_iteration(200);
  event.mutable_time()->set_seconds(3);
  event.mutable_evaluation()->set_loss(0.25);
  event.mutable_evaluation()->set_accuracy(0.9);
  const std::vector<ExportPoint> points = PointsOf(segment);
  ASSERT_EQ(points.size(), 1u);
  EXPECT_THAT(Named(points[0]), ElementsAre(Pair("eval/accuracy", 0.9), Pair("eval/loss", 0.25)));
  EXPECT_EQ(points[0].step, 200);
  EXPECT_EQ(points[0].time_unix_nanos, 3'000'000'000);
  event.mutable_overflow();  // in the place of the evaluation
  EXPECT_THAT(PointsOf(segment), IsEmpty());
}

TEST(ExportPoint, ParametersTellTrainingsApart) {
  v1::JobSpec spec;
  v1::TrainingSpec& training = *spec.mutable_training();
  training.mutable_model()->mutable_mlp();
  training.mutable_precision()->set_mode(v1::PrecisionSpec::FP16);
  training.mutable_optimizer()->mutable_sgd()->set_learning_rate(0.1);
  training.set_batch_size(64);
  training.set_epochs(3);
  const auto parameters = ParametersOf(spec);
  for (const auto& wanted : {std::pair<std::string, std::string>{"precision.mode", "FP16"},
                             {"model", "mlp"},
                             {"optimizer", "sgd"},
                             {"learning_rate", "0.1"},
                             {"batch_size", "64"},
                             {"epochs", "3"}}) {
    EXPECT_THAT(parameters, Contains(wanted));
  }
  EXPECT_THAT(parameters, Not(Contains(Pair("iterations", testing::_))));
  EXPECT_THAT(parameters, Not(Contains(Pair("schedule", "")))) << "what is not given is left out";
}

std::vector<std::int64_t> Chosen(PointSampler& sampler, int first, int last) {
  std::vector<ExportPoint> chosen;
  sampler.Take(PointsOf(ExportRecords(first, last)), chosen);
  return Steps(chosen);
}

TEST(PointSampler, AllGoWithoutAnInterval) {
  PointSampler sampler(milliseconds(0));
  EXPECT_EQ(Chosen(sampler, 1, 1500).size(), 1500u);
}

TEST(PointSampler, AfterTheFirstThousandOneGoesEachInterval) {
  PointSampler sampler(milliseconds(100));
  EXPECT_EQ(Chosen(sampler, 1, 1000).size(), 1000u);
  std::vector<ExportPoint> points = PointsOf(ExportRecords(1001, 1350));
  for (ExportPoint& point : points) point.skipped = false;
  std::vector<ExportPoint> chosen;
  sampler.Take(points, chosen);
  EXPECT_THAT(Steps(chosen), ElementsAre(1100, 1200, 1300));
  chosen.clear();
  sampler.Finish(chosen);
  EXPECT_THAT(Steps(chosen), ElementsAre(1350)) << "a run's last loss is never left out";
  chosen.clear();
  sampler.Finish(chosen);
  EXPECT_THAT(chosen, IsEmpty());
}

TEST(PointSampler, ASkipIsNeverLeftOutButALongRowOfThemIs) {
  PointSampler sampler(milliseconds(100));
  Chosen(sampler, 1, 1000);
  std::vector<ExportPoint> points = PointsOf(ExportRecords(1001, 1050));
  for (ExportPoint& point : points) point.skipped = point.step == 1010 || point.step >= 1020;
  std::vector<ExportPoint> chosen;
  sampler.Take(points, chosen);
  EXPECT_THAT(Steps(chosen), ElementsAre(1010, 1020));
}

TEST(PointSampler, EvaluationsAllGo) {
  PointSampler sampler(milliseconds(100));
  Chosen(sampler, 1, 1000);
  std::vector<ExportPoint> chosen;
  ExportPoint evaluation;
  evaluation.step = 1001;
  evaluation.evaluation = true;
  sampler.Take({evaluation, evaluation}, chosen);
  EXPECT_THAT(Steps(chosen), ElementsAre(1001, 1001));
}

}  // namespace
}  // namespace mantissa::agent
