// Studies in the commands that are for every job, and the examples of them.
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "client/cli/spec/spec_file.h"
#include "client/cli/watch/watch_model.h"
#include "client/cli/watch/watch_view.h"
#include "proto/spec/study_report.h"
#include "proto/spec/validate.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

v1::Job StudyJob(v1::Job::State state) {
  v1::Job job;
  job.set_id("01jz0000000000000000000001");
  job.set_name("formats");
  job.set_state(state);
  job.set_attempt(1);
  job.mutable_resolved_spec()->mutable_study()->mutable_format_table();
  job.mutable_progress()->set_worker_id("ws-1");
  job.mutable_progress()->set_device("cpu");
  return job;
}

v1::JobEvent CaseEvent(int done, const std::string& what) {
  v1::JobEvent event;
  event.mutable_time()->set_seconds(kNoon);
  event.set_severity(v1::JobEvent::INFO);
  event.set_reason("STUDY_CASE");
  event.set_message(what);
  event.set_iteration(done);
  return event;
}

std::string BlockOf(const WatchModel& model) {
  return absl::StrJoin(RenderBlock(model.state(), {.width = 80}, std::nullopt), "\n");
}

TEST(WatchOfAStudy, CountsCasesAndSkipsNothing) {
  WatchModel model;
  model.SetJob(StudyJob(v1::Job::RUNNING));
  v1::JobEvent started = StartedEvent(12);
  started.mutable_started()->clear_precision();
  model.Apply(Frame({EventSegment(started, 1), EventSegment(CaseEvent(3, "FP16, seed 2: loss 0.412"), 2)}));
  EXPECT_EQ(BlockOf(model), absl::StrCat("formats   RUNNING   attempt 1 on ws-1 · cpu\ncase  3/12 ━━━━━━━",
                                         "─────────────────────", "  25 %"));
  EXPECT_EQ(RenderProgressLine(model.state()), "case 3/12 (25 %)");
  const std::vector<EventLine> events = model.TakeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].text, "FP16, seed 2: loss 0.412");
  // A later attempt begins anew.
  model.Apply(Frame({EventSegment(CaseEvent(1, "FP32, seed 0: loss 0.4"), 3, 2)}));
  EXPECT_EQ(model.state().iteration, 1);
}

TEST(WatchOfAStudy, EndsWithWhatItFoundAndHowToSeeTheReport) {
  v1::Job job = StudyJob(v1::Job::SUCCEEDED);
  job.mutable_result()->set_finding("FP16 loses a third of the gradients, and none of them times 65536.");
  const std::string text = absl::StrJoin(RenderSummary(job, {.width = 60}, " --address x"), "\n");
  EXPECT_EQ(text,
            "formats   SUCCEEDED\n"
            "  FP16 loses a third of the gradients, and none of them\n"
            "  times 65536.\n"
            "  its report: mantissa report 01jz0000000000000000000001 --address x");
  job.set_state(v1::Job::CANCELLED);
  EXPECT_THAT(absl::StrJoin(RenderSummary(job, {.width = 60}, ""), "\n"), HasSubstr("mantissa report"));
  job.clear_result();
  EXPECT_THAT(absl::StrJoin(RenderSummary(job, {.width = 60}, ""), "\n"), Not(HasSubstr("mantissa report")));
}

class StudyCommandTest : public ::testing::Test {
 protected:
  CliRun Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return RunCli(arguments);
  }
  FakeServer server_;
};

TEST_F(StudyCommandTest, GetShowsTheFindingAndCountsCases) {
  v1::Job job = StudyJob(v1::Job::SUCCEEDED);
  job.mutable_progress()->set_iteration(3);
  job.mutable_progress()->set_total_iterations(12);
  job.mutable_result()->set_finding(
      "FP16 loses a third of the gradients, and none of them times 65536, which is the scale to take.");
  server_.jobs().AddJob(job);
  const CliRun run = Run({"get", job.id()});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("cases            3 of 12\n"), Not(HasSubstr("applied")),
                             HasSubstr("finding          FP16 loses a third of the gradients, and none of them times\n"
                                       "                 65536, which is the scale to take.\n")));
}

TEST_F(StudyCommandTest, ListTakesItAsAnyJob) {
  server_.jobs().AddJob(StudyJob(v1::Job::RUNNING));
  const CliRun run = Run({"list"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("formats"));
}

TEST_F(StudyCommandTest, PlotSaysWhereItsNumbersAre) {
  server_.jobs().AddJob(StudyJob(v1::Job::SUCCEEDED));
  const CliRun run = Run({"plot", "01jz0000000000000000000001"});
  EXPECT_EQ(run.code, kExitError);
  EXPECT_THAT(run.err, HasSubstr("mantissa report 01jz0000000000000000000001 --address"));
}

TEST_F(StudyCommandTest, WhatIsOfATrainingIsRefused) {
  server_.jobs().AddJob(StudyJob(v1::Job::SUCCEEDED));
  EXPECT_THAT(Run({"clone", "01jz0000000000000000000001", "--from-checkpoint"}).err, HasSubstr("keeps no checkpoints"));
  EXPECT_THAT(server_.jobs().submitted(), IsEmpty());
  EXPECT_THAT(RunCli({"describe-precision", "client/examples/studies/memory_plan.yaml"}).err, HasSubstr("memory_plan"));
}

TEST(StudyExamples, ThereIsAGoodOneOfEveryStudy) {
  const google::protobuf::Descriptor& studies = *v1::StudySpec::descriptor();
  for (int i = 0; i < studies.field_count(); ++i) {
    const std::string path = absl::StrCat("client/examples/studies/", studies.field(i)->name(), ".yaml");
    ASSERT_TRUE(std::filesystem::exists(path)) << path;
    const SpecFile file = ReadSpecFile({.file = path, .overrides = {}, .name = ""});
    for (const SpecProblem& problem : file.problems) ADD_FAILURE() << FormatProblem(path, problem);
    EXPECT_EQ(spec::StudyName(file.spec.study().kind_case()), studies.field(i)->name());
    for (const spec::Violation& violation : spec::ValidateJobSpec(file.spec)) {
      ADD_FAILURE() << path << ": " << violation.field_path << " " << violation.description;
    }
  }
}

TEST(StudyExamples, OthersAreGoodToo) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator("client/examples")) {
    if (entry.path().extension() != ".yaml") continue;
    const SpecFile file = ReadSpecFile({.file = entry.path().string(), .overrides = {}, .name = ""});
    EXPECT_THAT(file.problems, IsEmpty()) << entry.path();
    EXPECT_THAT(spec::ValidateJobSpec(file.spec), IsEmpty()) << entry.path();
  }
}

}  // namespace
}  // namespace mantissa::cli
