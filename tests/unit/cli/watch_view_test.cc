#include "client/cli/watch/watch_view.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/output/display_text.h"
#include "client/cli/watch/watch_display.h"
#include "process/fake_clock.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// The run of the picture: iteration 412 of 690, two skipped.
WatchModel ExampleModel() {
  WatchModel model;
  model.SetJob(ExampleJob());
  model.Apply(JobFrame(ExampleJob()));
  std::vector<Record> records;
  for (int i = 1; i <= 412; ++i) {
    records.push_back({.iteration = i,
                       .step = i < 4 ? 1 : i - 2,
                       .loss = i == 412 ? 0.0812 : 2.3 * std::exp(-i / 90.0),
                       .nanos = i * 10'000'000LL});
  }
  model.Apply(Frame(
      {EventSegment(StartedEvent(), 1), RecordsSegment(records, 2), EventSegment(EvaluationEvent(400, 0.958), 414)}));
  return model;
}

std::string Block(const WatchState& state, const ViewOptions& options) {
  return absl::StrJoin(RenderBlock(state, options), "\n");
}

TEST(WatchView, IsThePictureAtEightyColumns) {
  EXPECT_EQ(Block(ExampleModel().state(), {.width = 80}),
            "digits-fp16   RUNNING   attempt 1 on ws-1 · cpu · FP16\n"
            "iteration 412/690 ━━━━━━━━━━━━╸────────  59 %   0:03 left   14.2k samples/s\n"
            "loss 0.0812 █▅▃▂▂▁▁▁   eval accuracy 0.958   grad norm 0.710   lr 2.1e-3\n"
            "scale 16384, grows in 1588 steps   applied 410, skipped 2 (0.5 %)   STEADY");
}

TEST(WatchView, ShowsThePrecisionInEffectAndTheLineage) {
  WatchModel model = ExampleModel();
  v1::Job job = ExampleJob();
  job.set_attempt(2);
  *job.mutable_lineage() = FallenBack();
  model.Apply(JobFrame(job));
  const std::string block = Block(model.state(), {.width = 80});
  EXPECT_THAT(block, HasSubstr("digits-fp16   RUNNING   attempt 2 on ws-1 · cpu · FP16 → BF16 · lineage 2\n"));
  EXPECT_THAT(block, Not(HasSubstr("scale")));
}

TEST(WatchView, TheStabilityIsShownOnceItIsKnown) {
  WatchModel model = ExampleModel();
  v1::Job job = ExampleJob();
  job.mutable_progress()->mutable_precision()->set_stability_score(0.998);
  model.Apply(JobFrame(job));
  EXPECT_THAT(Block(model.state(), {.width = 120}), HasSubstr("STEADY   stability 0.9980"));
}

TEST(WatchView, UsesTheRoomOfAWideTerminal) {
  EXPECT_EQ(Block(ExampleModel().state(), {.width = 160}),
            "digits-fp16   RUNNING   attempt 1 on ws-1 · cpu · FP16\n"
            "iteration 412/690 ━━━━━━━━━━━━━━━━━━━━━━━╸────────────────  59 %   0:03 left   14.2k samples/s\n"
            "loss 0.0812 █▇▆▆▅▄▄▃▃▃▃▂▂▂▂▂▂▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁   eval accuracy 0.958   grad norm 0.710   lr 2.1e-3\n"
            "scale 16384, grows in 1588 steps   applied 410, skipped 2 (0.5 %)   STEADY");
}

TEST(WatchView, LeavesOutTheLeastImportantWhenItIsNarrow) {
  EXPECT_EQ(Block(ExampleModel().state(), {.width = 40}),
            "digits-fp16   RUNNING\n"
            "iteration 412/690 ━━━━╸───  59 %\n"
            "loss 0.0812   eval accuracy 0.958\n"
            "scale 16384   skipped 2 (0.5 %)   STEADY");
}

TEST(WatchView, NoLineIsEverWiderThanTheTerminal) {
  WatchModel model = ExampleModel();
  v1::Job job = ExampleJob(v1::Job::QUEUED);
  job.set_state_message("waits for a worker with 80 GiB of free memory on a device of compute capability 9.0");
  WatchModel queued;
  queued.SetJob(job);
  for (int width = 1; width <= 200; ++width) {
    for (const bool utf8 : {true, false}) {
      for (const WatchState* state : {&model.state(), &queued.state()}) {
        for (const std::string& line : RenderBlock(*state, {.width = width, .color = false, .utf8 = utf8}, "notice")) {
          EXPECT_LE(DisplayWidth(line), width) << line;
        }
      }
    }
  }
}

TEST(WatchView, ColoursOnlyWhenAsked) {
  const WatchModel model = ExampleModel();
  const WatchState& state = model.state();
  EXPECT_THAT(Block(state, {.width = 80, .color = false}), Not(HasSubstr("\x1b")));
  const std::vector<std::string> lines = RenderBlock(state, {.width = 80, .color = true});
  EXPECT_EQ(lines[0], "\x1b[1mdigits-fp16\x1b[0m   \x1b[32mRUNNING\x1b[0m   attempt 1 on ws-1 · cpu · FP16");
  EXPECT_EQ(lines[3],
            "scale \x1b[1m16384\x1b[0m, grows in 1588 steps   applied 410, \x1b[33mskipped 2 (0.5 %)\x1b[0m   "
            "\x1b[32mSTEADY\x1b[0m");
}

TEST(WatchView, HasAnAsciiForm) {
  EXPECT_EQ(Block(ExampleModel().state(), {.width = 80, .color = false, .utf8 = false}),
            "digits-fp16   RUNNING   attempt 1 on ws-1 - cpu - FP16\n"
            "iteration 412/690 ============>--------  59 %   0:03 left   14.2k samples/s\n"
            "loss 0.0812 #=:..___   eval accuracy 0.958   grad norm 0.710   lr 2.1e-3\n"
            "scale 16384, grows in 1588 steps   applied 410, skipped 2 (0.5 %)   STEADY");
}

TEST(WatchView, SaysWhyAJobWaits) {
  v1::Job job = ExampleJob(v1::Job::QUEUED);
  job.set_queue_position(2);
  job.set_reason(v1::Reason::WAITING_FOR_WORKER);
  job.set_state_message("no worker is connected");
  WatchModel model;
  model.SetJob(job);
  EXPECT_EQ(Block(model.state(), {.width = 80}),
            "digits-fp16   QUEUED   position 2 in the queue   no worker is connected");
}

TEST(WatchView, ShowsNoScaleWhereThereIsNone) {
  WatchModel model = ExampleModel();
  v1::Job job = ExampleJob();
  job.mutable_resolved_spec()->mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::BF16);
  model.SetJob(job);
  EXPECT_EQ(RenderBlock(model.state(), {.width = 80})[3], "applied 410, skipped 2 (0.5 %)   STEADY");
}

TEST(WatchView, ShowsALossThatIsNoNumber) {
  WatchModel model = ExampleModel();
  model.Apply(Frame({RecordsSegment({{.iteration = 413, .step = 410, .loss = std::nan("")}}, 415)}));
  EXPECT_THAT(RenderBlock(model.state(), {.width = 80, .color = true})[2], HasSubstr("\x1b[1;31mNaN\x1b[0m"));
}

TEST(WatchView, ShowsWhatIsFoldedAndWhatIsWrongWithTheConnection) {
  WatchModel model = ExampleModel();
  std::vector<v1::Segment> segments;
  for (int i = 0; i < 5; ++i) segments.push_back(EventSegment(OverflowEventAt(413 + i, 16, 8), 415 + i));
  model.Apply(Frame(segments));
  const std::vector<std::string> lines = RenderBlock(model.state(), {.width = 100}, "the server does not answer");
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[4], "2 iterations skipped since 12:01:07 (416 to 417), last in head.weight; scale 16 → 8 …");
  EXPECT_EQ(lines[5], "the server does not answer");
}

TEST(WatchView, WrapsHistoryAtWords) {
  const EventLine event = {OverflowEventAt(3, 1, 1).time(), v1::JobEvent::WARNING,
                           "iteration 3 skipped: overflow, first in head.weight (17 Inf of 1280); scale 32768 → 16384"};
  EXPECT_THAT(RenderEvent(event, {.width = 60}),
              ElementsAre("12:01:07  iteration 3 skipped: overflow, first in",
                          "          head.weight (17 Inf of 1280); scale 32768 → 16384"));
  EXPECT_THAT(RenderEvent(event, {.width = 160, .color = true}),
              ElementsAre("\x1b[2m12:01:07\x1b[0m  \x1b[33m" + event.text + "\x1b[0m"));
  EXPECT_THAT(RenderEvent({{}, v1::JobEvent::INFO, std::string(50, 'x')}, {.width = 40}),
              ElementsAre("          " + std::string(30, 'x'), "          " + std::string(20, 'x')));
}

TEST(WatchView, HasAOneLineForm) {
  EXPECT_EQ(RenderProgressLine(ExampleModel().state()),
            "iteration 412/690 (59 %)  loss 0.0812  scale 16384  skipped 2  14.2k samples/s  0:03 left");
}

TEST(WatchView, DrawsSparklines) {
  EXPECT_EQ(Sparkline({8, 7, 6, 5, 4, 3, 2, 1}), "█▇▆▅▄▃▂▁");
  EXPECT_EQ(Sparkline({3, 3, 3}), "▁▁▁");
  EXPECT_EQ(Sparkline({1, std::nan(""), 2}), "▁×█");
  EXPECT_EQ(Sparkline({}), "");
}

v1::Job EndedJob(v1::Job::State state) {
  v1::Job job = ExampleJob(state);
  v1::JobResult& result = *job.mutable_result();
  result.set_iterations(690);
  result.set_steps(688);
  result.set_skipped_iterations(2);
  result.set_eval_accuracy(0.9733);
  result.set_loss(0.0312);
  result.set_loss_scale(32768);
  result.set_precision(v1::PrecisionSpec::FP16);
  result.mutable_training_time()->set_seconds(12);
  result.set_samples_per_second(14200);
  return job;
}

TEST(WatchSummary, SaysWhatCameOut) {
  EXPECT_THAT(RenderSummary(EndedJob(v1::Job::SUCCEEDED), {.width = 120}, ""),
              ElementsAre("digits-fp16   SUCCEEDED   eval accuracy 0.9733, loss 0.0312",
                          "  iterations 690, applied 688, skipped 2 (0.3 %)   final scale 32768   FP16   trained for "
                          "12.0s   14.2k samples/s",
                          "  get the model: mantissa download 01jdgts000000000000000000a"));
}

TEST(WatchSummary, SaysWhyItFailedAndNeverCutsTheRemedy) {
  v1::Job job = EndedJob(v1::Job::FAILED);
  job.set_reason(v1::Reason::SCALE_AT_MINIMUM);
  job.set_state_message("50 iterations in a row overflowed at the smallest scale; lower the learning rate");
  EXPECT_THAT(RenderSummary(job, {.width = 60}, " --address h:1"),
              ElementsAre("digits-fp16   FAILED   SCALE_AT_MINIMUM",
                          "  50 iterations in a row overflowed at the smallest scale;", "  lower the learning rate",
                          "  iterations 690, applied 688, skipped 2 (0.3 %)",
                          "  its log: mantissa logs 01jdgts000000000000000000a --address h:1",
                          "  to replay its failure: mantissa bundle 01jdgts000000000000000000a --address h:1"));
  job.mutable_resolved_spec()->mutable_training()->mutable_checkpoint()->set_bundle(v1::CheckpointSpec::NEVER);
  EXPECT_THAT(RenderSummary(job, {.width = 200}, "").back(), ::testing::HasSubstr("its log"));
  job.mutable_resolved_spec()->mutable_training()->clear_checkpoint();
  job.set_reason(v1::Reason::BAD_DATA);
  EXPECT_THAT(RenderSummary(job, {.width = 200}, "").back(), ::testing::HasSubstr("its log"));
}

class DisplayTest : public ::testing::Test {
 protected:
  KeptOutput out_;
  KeptOutput err_;
  process::FakeClock clock_;
  int width_ = 80;
  Console console_{.out = out_,
                   .err = err_,
                   .out_look = {.terminal = true, .color = false},
                   .err_look = {.terminal = true, .color = false},
                   .utf8 = true,
                   .width = [this] { return width_; },
                   .environment = [](const std::string&) { return std::nullopt; },
                   .clock = clock_};
};

TEST_F(DisplayTest, TerminalRedrawsInPlaceAndPutsHistoryAbove) {
  WatchModel model = ExampleModel();
  TerminalDisplay display(console_);
  display.Show({}, model.state(), std::nullopt, clock_.Now());
  const std::string first = out_.text();
  EXPECT_THAT(first, HasSubstr("\x1b[?2026h"));
  EXPECT_THAT(first, Not(HasSubstr("A\r"))) << "nothing to go up to";
  display.Show({}, model.state(), std::nullopt, clock_.Now());
  EXPECT_EQ(out_.text(), first) << "nothing changed, so nothing is written";
  display.Show(model.TakeEvents(), model.state(), std::nullopt, clock_.Now());
  const std::string second = out_.text().substr(first.size());
  EXPECT_THAT(second, HasSubstr("\x1b[4A\r\x1b[J12:01:00  training on cpu"));
  EXPECT_LT(second.find("evaluation at step 400"), second.find("digits-fp16"));
  display.Close();
  EXPECT_THAT(out_.text(), ::testing::EndsWith("\x1b[?25h")) << "the cursor is shown again";
}

TEST_F(DisplayTest, TerminalCountsTheRowsThatAResizeWrapped) {
  WatchModel model = ExampleModel();
  TerminalDisplay display(console_);
  display.Show({}, model.state(), std::nullopt, clock_.Now());
  const std::size_t before = out_.text().size();
  width_ = 40;
  display.Show({}, model.state(), std::nullopt, clock_.Now());
  // 54, 75, 71 and 74 columns take two rows of forty each.
  EXPECT_THAT(out_.text().substr(before), HasSubstr("\x1b[8A\r"));
}

TEST_F(DisplayTest, LinesCarryNoEscapesAndNoMoreThanOneProgressLineInTenSeconds) {
  WatchModel model = ExampleModel();
  v1::WatchJobResponse live;
  live.set_live(true);
  model.Apply(live);
  console_.out_look = {};
  console_.err_look = {};
  LineDisplay display(console_, out_);
  display.Show(model.TakeEvents(), model.state(), std::nullopt, clock_.Now());
  EXPECT_THAT(out_.text(), HasSubstr("12:01:05  evaluation at step 400: loss 0.150, accuracy 0.958\n"));
  EXPECT_EQ(err_.text(), "iteration 412/690 (59 %)  loss 0.0812  scale 16384  skipped 2  14.2k samples/s  0:03 left\n");
  const std::size_t before = err_.text().size();
  model.Apply(Frame({RecordsSegment({{.iteration = 413, .step = 411}}, 415)}));
  display.Show({}, model.state(), std::nullopt, clock_.Now());
  EXPECT_EQ(err_.text().size(), before);
  model.Apply(Frame({RecordsSegment({{.iteration = 414, .step = 412}}, 416)}));
  display.Show({}, model.state(), std::nullopt, clock_.Now() + std::chrono::seconds(10));
  EXPECT_THAT(err_.text().substr(before), HasSubstr("iteration 414/690 (60 %)"));
  EXPECT_EQ((out_.text() + err_.text()).find('\x1b'), std::string::npos);
}

TEST_F(DisplayTest, LinesTellOnceThatTheServerIsAwayAndThatItIsBack) {
  const WatchModel model = ExampleModel();
  LineDisplay display(console_, out_);
  for (int i = 0; i < 3; ++i) display.Show({}, model.state(), "away for " + std::to_string(i) + " s", clock_.Now());
  display.Show({}, model.state(), std::nullopt, clock_.Now());
  EXPECT_EQ(err_.text(), "away for 0 s\nthe server is back\n");
}

}  // namespace
}  // namespace mantissa::cli
