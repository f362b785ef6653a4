#include "worker/trainer/study_attempt.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/bits.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "tests/unit/trainer/trainer_fixture.h"
#include "worker/trainer/machine/host.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kTraining[] =
    "training { model { mlp { hidden: 4 } } data { train { synthetic { samples: 32 shape: 6 classes: 3 } } } "
    "batch_size: 8 iterations: 50 }";

v1::RunAttempt StudyAttempt(const std::string& spec, std::int32_t attempt = 1) {
  v1::RunAttempt run;
  run.set_job_id(kJob);
  run.set_attempt(attempt);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(spec, run.mutable_spec())) << spec;
  return run;
}

// `changes` is text merged into the comparison.
v1::RunAttempt Comparison(const std::string& changes = "", std::int32_t attempt = 1) {
  v1::RunAttempt run = StudyAttempt(
      std::string("study { precision_comparison { precisions: [FP32, BF16] seeds: 2 ") + kTraining + " } }", attempt);
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString("study { precision_comparison {" + changes + "} }",
                                                            run.mutable_spec()))
      << changes;
  return run;
}

// Endless, so that only a stop can end it.
v1::RunAttempt EndlessComparison() { return Comparison("training { iterations: 1000000000 }"); }

std::vector<v1::JobEvent> CasesIn(const AttemptSeen& seen) {
  std::vector<v1::JobEvent> cases;
  for (const v1::JobEvent& event : seen.events()) {
    if (event.reason() == "STUDY_CASE") cases.push_back(event);
  }
  return cases;
}

class StudyAttemptTest : public ::testing::Test {
 protected:
  AttemptSeen Run(const v1::RunAttempt& run, const AttemptConditions& conditions = {}) {
    return RunIn(folder_, run, conditions);
  }

  // All that the agent is told, in order.
  std::vector<v1::TrainerReport> ReportsOf(const v1::RunAttempt& run, const process::Clock& clock) {
    Conversation conversation;
    FakeControl never;
    const AttemptEnvironment environment{.device_name = "cpu",
                                         .roots = folder_.roots(),
                                         .checkpoint_storage_id = "",
                                         .version = "",
                                         .channel = conversation.channel(),
                                         .control = never,
                                         .clock = clock};
    RunAttempt(run, environment);
    return conversation.agent().ReadAll(conversation.channel());
  }

  RunFolder folder_;
};

TEST_F(StudyAttemptTest, AStudyEndsWithItsReport) {
  const AttemptSeen seen = Run(Comparison());
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.ended.reason(), v1::Reason::COMPLETED);
  EXPECT_EQ(seen.ended.message(), "ran 8 of 8 cases");
  EXPECT_TRUE(seen.ended.reusable());
  ASSERT_TRUE(seen.ended.report().has_precision_comparison());
  EXPECT_FALSE(seen.ended.report().finding().empty());
  EXPECT_EQ(seen.ended.result().finding(), seen.ended.report().finding());
  EXPECT_EQ(seen.ended.result().iterations(), 8) << "its cases";
  EXPECT_EQ(seen.ended.report().device(), "cpu");
  EXPECT_FALSE(seen.ended.report().partial());
  EXPECT_THAT(seen.saved, IsEmpty());
  EXPECT_EQ(seen.ended.artifacts_size(), 0);
}

TEST_F(StudyAttemptTest, ItSaysHowManyCasesThereAreBeforeTheFirst) {
  const AttemptSeen seen = Run(Comparison());
  ASSERT_THAT(seen.started, SizeIs(1));
  EXPECT_EQ(seen.started.at(0).job_id(), kJob);
  EXPECT_EQ(seen.started.at(0).attempt(), 1);
  EXPECT_EQ(seen.started.at(0).total_iterations(), 8);
  ASSERT_TRUE(seen.events().at(0).has_started());
  EXPECT_EQ(seen.events().at(0).started().total_iterations(), 8);
  EXPECT_EQ(seen.events().at(0).started().device(), "cpu");
  EXPECT_FALSE(seen.events().at(0).started().torch_version().empty());
}

TEST_F(StudyAttemptTest, EachCaseIsAnEventThatCountsOn) {
  const AttemptSeen seen = Run(Comparison());
  const std::vector<v1::JobEvent> cases = CasesIn(seen);
  ASSERT_THAT(cases, SizeIs(8));
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(cases[i].iteration(), static_cast<std::int32_t>(i) + 1);
    EXPECT_EQ(cases[i].severity(), v1::JobEvent::INFO);
  }
  EXPECT_THAT(cases.at(0).message(), HasSubstr("FP32, seed 0, iteration 25 of 50: loss "));
  for (const v1::JobEvent& event : seen.events()) EXPECT_NE(event.reason(), "STUDY_GOES_ON") << "none is long";
}

TEST_F(StudyAttemptTest, InALongCaseItIsNeverSilentForAsLongAsAStall) {
  v1::RunAttempt run = Comparison();
  run.mutable_spec()->mutable_timeouts()->mutable_stall()->set_seconds(15);
  const TickingClock clock(std::chrono::seconds(1));  // so that 25 iterations, a case, take longer
  std::vector<v1::JobEvent> events;
  for (const v1::TrainerReport& report : ReportsOf(run, clock)) {
    for (const v1::Segment& segment : report.telemetry().segments()) {
      if (segment.has_event()) events.push_back(segment.event());
    }
  }
  ASSERT_THAT(events, SizeIs(::testing::Gt(9u))) << "the start, eight cases, and more";
  std::int64_t longest = 0;
  for (std::size_t i = 1; i < events.size(); ++i) {
    longest = std::max(longest, events[i].time().seconds() - events[i - 1].time().seconds());
  }
  EXPECT_LT(longest, 15);
  EXPECT_EQ(events.at(1).reason(), "STUDY_GOES_ON");
  EXPECT_EQ(events.at(1).message(), "0 of 8 cases are done; the next one takes its time");
  EXPECT_EQ(events.at(1).iteration(), 0);
}

TEST_F(StudyAttemptTest, HeartbeatsMoveWithTheCases) {
  const process::FakeClock clock;
  std::vector<std::int32_t> iterations;
  for (const v1::TrainerReport& report : ReportsOf(Comparison(), clock)) {
    if (report.has_heartbeat() && report.heartbeat().iteration() > 0)
      iterations.push_back(report.heartbeat().iteration());
  }
  EXPECT_THAT(iterations, ::testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

class StoppedStudyTest : public StudyAttemptTest, public ::testing::WithParamInterface<bool> {};

// A study keeps no checkpoint, so a stop with one and a stop without are the same to it.
TEST_P(StoppedStudyTest, EndsWithWhatItHas) {
  FakeControl control(100, /*checkpoint=*/GetParam());
  control.or_go_on = GetParam();
  const AttemptSeen seen = Run(EndlessComparison(), {.control = &control});
  EXPECT_EQ(seen.ended.state(), v1::Attempt::CANCELLED);
  EXPECT_THAT(seen.ended.message(), AllOf(HasSubstr("of 32 cases"), HasSubstr("keeps no checkpoint")));
  EXPECT_FALSE(seen.ended.reusable());
  EXPECT_TRUE(seen.ended.report().partial());
  EXPECT_TRUE(seen.ended.report().has_precision_comparison()) << "a report without a result is of no study";
  EXPECT_EQ(seen.ended.result().finding(), seen.ended.report().finding());
  EXPECT_THAT(control.declined, IsEmpty()) << "it would go on for nothing";
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutACheckpoint, StoppedStudyTest, ::testing::Bool());

TEST_F(StudyAttemptTest, AStopThatComesAfterItsLastCaseTakesNothingFromIt) {
  const v1::RunAttempt table = StudyAttempt("study { format_table { formats: FP16 iterations: 0 } }");
  FakeControl control(1);
  const AttemptSeen seen = Run(table, {.control = &control});
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_FALSE(seen.ended.report().partial());
}

TEST_F(StudyAttemptTest, ABadStudyIsABadSpec) {
  const AttemptSeen seen = Run(Comparison("seeds: 0"));
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::BAD_SPEC);
  EXPECT_THAT(seen.ended.message(), HasSubstr("study.precision_comparison.seeds"));
  EXPECT_FALSE(seen.ended.has_report());
  EXPECT_THAT(seen.started, IsEmpty());
}

TEST_F(StudyAttemptTest, MissingDataIsBadDataAndItsFieldIsNamed) {
  const AttemptSeen seen =
      Run(Comparison("training { data { train { idx { images: 'no.idx' labels: 'none.idx' } } } }"));
  EXPECT_EQ(seen.ended.reason(), v1::Reason::BAD_DATA);
  EXPECT_THAT(seen.ended.message(), HasSubstr("study.precision_comparison.training.data.train.idx.images"));
  EXPECT_FALSE(seen.ended.has_report());
}

TEST_F(StudyAttemptTest, AModelThatDoesNotFitIsOutOfMemory) {
  const AttemptSeen seen = Run(Comparison("training { model { mlp { hidden: 8192 hidden: 8192 } } }"),
                               {.memory_limit_bytes = ResidentMemory() + (std::int64_t{512} << 20)});
  EXPECT_EQ(seen.ended.reason(), v1::Reason::OUT_OF_DEVICE_MEMORY);
  EXPECT_THAT(seen.ended.message(), HasSubstr("study.precision_comparison.training.model: training it takes about"));
}

TEST_F(StudyAttemptTest, ThreadsAreThoseThatTheSpecAsksFor) {
  Run(StudyAttempt(std::string("resources { cpu_threads: 2 } study { scaler_study { presets: TORCH ") + kTraining +
                   " } }"));
  EXPECT_EQ(at::get_num_threads(), 2);
  Run(StudyAttempt(std::string("study { scaler_study { presets: TORCH ") + kTraining + " } }"), {.threads = 2});
  EXPECT_EQ(at::get_num_threads(), 1) << "so small a model is best on one";
}

// This clock stands still, so that times are the same, too.
TEST_F(StudyAttemptTest, AUsedProcessGivesTheReportOfAFreshOne) {
  const v1::RunAttempt analysis =
      StudyAttempt(std::string("study { gradient_analysis { every_iterations: 10 ") + kTraining + " } }");
  const std::string first = Run(analysis).ended.report().SerializeAsString();
  const std::string compared = Run(Comparison()).ended.report().SerializeAsString();
  // Whatever else the process does.
  EXPECT_EQ(Run(LanguageAttempt(2)).ended.state(), v1::Attempt::SUCCEEDED);
  Run(Comparison("seeds: 0"));
  FakeControl control(50);
  Run(EndlessComparison(), {.control = &control});
  at::manual_seed(77);
  at::set_num_threads(2);
  at::globalContext().setFlushDenormal(true);
  EXPECT_EQ(Run(analysis).ended.report().SerializeAsString(), first);
  EXPECT_EQ(Run(Comparison()).ended.report().SerializeAsString(), compared);
  // And the comparison can fail.
  EXPECT_NE(Run(Comparison("training { seed: 1 }")).ended.report().SerializeAsString(), compared);
}

TEST_F(StudyAttemptTest, AStudyLeavesNothingBehindForTheTrainingAfterIt) {
  const AttemptSeen alone = Run(AttemptOf("", 1));
  Run(Comparison("", 2));
  EXPECT_THAT(Differences(RecordBits(Run(AttemptOf("", 3)).segments), RecordBits(alone.segments)), IsEmpty());
}

using StudyInATrainerTest = TrainerTest;

TEST_F(StudyInATrainerTest, IsAnAttemptLikeAnyOther) {
  StartBound();
  const AttemptSeen seen = Run(Comparison());
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_GT(seen.ended.report().precision_comparison().precisions(0).median_seconds(), 0);
  EXPECT_EQ(Run(AttemptOf("", 2)).ended.state(), v1::Attempt::SUCCEEDED);
}

TEST_F(StudyInATrainerTest, StopsWhenItIsAskedTo) {
  StartBound();
  SendRun(EndlessComparison());
  const AttemptSeen seen = Follow([this](const v1::TrainerReport& report) {
    if (report.has_started()) agent_.Send(StopCommand(kJob, 1, /*checkpoint=*/true));
  });
  EXPECT_EQ(seen.ended.state(), v1::Attempt::CANCELLED) << seen.ended.message();
  EXPECT_TRUE(seen.ended.report().partial());
}

TEST_F(StudyInATrainerTest, ItsKindsAreAmongWhatTheTrainerAnnounces) {
  const v1::Hello hello = Start();
  for (const char* study : {"format_table", "gradient_analysis", "precision_comparison", "scaler_study"}) {
    EXPECT_THAT(hello.features(), Contains(std::string("study.") + study));
  }
  EXPECT_TRUE(ShutDown().ok());
}

}  // namespace
}  // namespace mantissa::trainer
