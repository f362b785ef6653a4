#include "client/cli/top/top_view.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/output/display_text.h"
#include "client/cli/top/styled_table.h"
#include "tests/unit/cli/top_jobs.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Picture(const TopState& state, const ViewOptions& options, int height = 0) {
  return absl::StrJoin(RenderTop(state, options, height), "\n");
}

TopState Busy() { return BusyServer().State(AtNoon(), 100); }

TEST(TopView, IsThePictureAtEightyColumns) {
  EXPECT_EQ(Picture(Busy(), {.width = 80}),
            "mantissa 127.0.0.1:50051   2 running, 1 cancelling, 2 queued, 1 paused\n"
            "\n"
            "WORKER  DEVICE    MODEL                    MEMORY  STATE        RUNS\n"
            "gpu-1   3 × cuda  NVIDIA H100 80GB HBM3  80.0 GiB  2 of 3 busy  gpt-text-bf16, …\n"
            "gpu-1   cpu-0     Intel Xeon 8480C        256 GiB  idle         -\n"
            "old     cpu-0                            16.0 GiB  away 2m      -\n"
            "ws-1    cpu-0     AMD EPYC 9B14          31.0 GiB  busy         digits-fp16\n"
            "\n"
            "RUNNING        STATE        ITERATION                LOSS  SCALE  SKIPPED   LEFT\n"
            "digits-fp16    STABLE         412/690  ━━━━━╸────  0.0812  16384    0.5 %   0:28\n"
            "gpt-text-bf16  UNSTABLE    1200/60000  ──────────    5.21             0 %  33:29\n"
            "sweep          CANCELLING           3              0.0812             0 %\n"
            "\n"
            "WAITING      ID          STATE   SINCE  WHY\n"
            "sweep        01jdgts300  QUEUED     3m  waits for a worker with 80 GiB of free …\n"
            "digits-fp16  01jdgts400  QUEUED     3m  WAITING_FOR_WORKER\n"
            "night-run    01jdgts250  PAUSED     3m  paused at iteration 77\n"
            "\n"
            "ENDED        ID          STATE        WHEN  RESULT\n"
            "digits-fp16  01jdgts0b0  FAILED     3s ago  SCALE_AT_MINIMUM: 50 iterations in …\n"
            "digits-fp16  01jdgts0a0  SUCCEEDED  2m ago  eval accuracy 0.9583, loss 0.0312\n"
            "oops         01jdgts0c0  CANCELLED  2h ago");
}

TEST(TopView, UsesTheRoomOfAWideTerminal) {
  // Raw, so that the picture can be read.
  EXPECT_EQ(
      Picture(Busy(), {.width = 160}),
      R"(mantissa 127.0.0.1:50051   2 running, 1 cancelling, 2 queued, 1 paused   1 ended in the last minute   12:00:00

WORKER  DEVICE    MODEL                    MEMORY  STATE        RUNS
gpu-1   3 × cuda  NVIDIA H100 80GB HBM3  80.0 GiB  2 of 3 busy  gpt-text-bf16, sweep
gpu-1   cpu-0     Intel Xeon 8480C        256 GiB  idle         -
old     cpu-0                            16.0 GiB  away 2m      -
ws-1    cpu-0     AMD EPYC 9B14          31.0 GiB  busy         digits-fp16

RUNNING        ID          STATE        ITERATION                                    LOSS  SCALE  SKIPPED  SAMPLES/S   LEFT  WORKER  DEVICE
digits-fp16    01jdgts000  STABLE         412/690  ━━━━━━━━━━━━━━──────────  59 %  0.0812  16384    0.5 %      14.2k   0:28  ws-1    cpu
gpt-text-bf16  01jdgts100  UNSTABLE    1200/60000  ────────────────────────   2 %    5.21             0 %      14.2k  33:29  gpu-1   NVIDIA H100 80GB HBM3
sweep          01jdgts200  CANCELLING           3                                  0.0812             0 %      14.2k         gpu-1   cuda-1

WAITING      ID          STATE   SINCE  WHY
sweep        01jdgts300  QUEUED     3m  waits for a worker with 80 GiB of free memory on a device of compute capability 9.0
digits-fp16  01jdgts400  QUEUED     3m  WAITING_FOR_WORKER
night-run    01jdgts250  PAUSED     3m  paused at iteration 77

ENDED        ID          STATE        WHEN  RESULT
digits-fp16  01jdgts0b0  FAILED     3s ago  SCALE_AT_MINIMUM: 50 iterations in a row overflowed at the smallest scale; lower the learning rate
digits-fp16  01jdgts0a0  SUCCEEDED  2m ago  eval accuracy 0.9583, loss 0.0312
oops         01jdgts0c0  CANCELLED  2h ago)");
}

TEST(TopView, HasAnAsciiForm) {
  EXPECT_EQ(Picture(Busy(), {.width = 80, .color = false, .utf8 = false}),
            "mantissa 127.0.0.1:50051   2 running, 1 cancelling, 2 queued, 1 paused\n"
            "\n"
            "WORKER  DEVICE    MODEL                    MEMORY  STATE        RUNS\n"
            "gpu-1   3 x cuda  NVIDIA H100 80GB HBM3  80.0 GiB  2 of 3 busy  gpt-text-bf16...\n"
            "gpu-1   cpu-0     Intel Xeon 8480C        256 GiB  idle         -\n"
            "old     cpu-0                            16.0 GiB  away 2m      -\n"
            "ws-1    cpu-0     AMD EPYC 9B14          31.0 GiB  busy         digits-fp16\n"
            "\n"
            "RUNNING        STATE        ITERATION                LOSS  SCALE  SKIPPED   LEFT\n"
            "digits-fp16    STABLE         412/690  =====>----  0.0812  16384    0.5 %   0:28\n"
            "gpt-text-bf16  UNSTABLE    1200/60000  ----------    5.21             0 %  33:29\n"
            "sweep          CANCELLING           3              0.0812             0 %\n"
            "\n"
            "WAITING      ID          STATE   SINCE  WHY\n"
            "sweep        01jdgts300  QUEUED     3m  waits for a worker with 80 GiB of fre...\n"
            "digits-fp16  01jdgts400  QUEUED     3m  WAITING_FOR_WORKER\n"
            "night-run    01jdgts250  PAUSED     3m  paused at iteration 77\n"
            "\n"
            "ENDED        ID          STATE        WHEN  RESULT\n"
            "digits-fp16  01jdgts0b0  FAILED     3s ago  SCALE_AT_MINIMUM: 50 iterations i...\n"
            "digits-fp16  01jdgts0a0  SUCCEEDED  2m ago  eval accuracy 0.9583, loss 0.0312\n"
            "oops         01jdgts0c0  CANCELLED  2h ago");
}

TEST(TopView, NoLineIsEverWiderThanTheTerminalAndNoPictureHigher) {
  const TopState state = Busy();
  for (int width = 1; width <= 200; ++width) {
    for (const bool utf8 : {true, false}) {
      for (const std::string& line : RenderTop(state, {.width = width, .color = false, .utf8 = utf8}, 0, "notice")) {
        EXPECT_LE(DisplayWidth(line), width) << line;
      }
    }
  }
  for (int height = 1; height <= 40; ++height) {
    EXPECT_LE(RenderTop(state, {.width = 80}, height, "notice").size(), static_cast<std::size_t>(height));
  }
}

TEST(TopView, ShowsAFewOfEverythingWhereTheScreenIsLow) {
  TopModel model = BusyServer();
  for (int i = 10; i < 40; ++i) {
    model.Apply(JobsFrame({RunningTopJob("01jdgts5" + std::to_string(i), "many", i, 100, "ws-1", "cpu"),
                           TopJob("01jdgts6" + std::to_string(i), "more", v1::Job::QUEUED)}),
                AtNoon());
  }
  const std::vector<std::string> lines = RenderTop(model.State(AtNoon(), 1000), {.width = 80}, 24);
  EXPECT_EQ(lines.size(), 24u);
  EXPECT_THAT(lines[0], HasSubstr("32 running, 1 cancelling, 32 queued, 1 paused"));
  const std::string picture = absl::StrJoin(lines, "\n");
  EXPECT_THAT(picture, HasSubstr("WORKER"));
  EXPECT_THAT(picture, HasSubstr("and 28 more")) << "of those that run";
  EXPECT_THAT(picture, HasSubstr("and 31 more")) << "of those that wait";
  EXPECT_THAT(picture, HasSubstr("ENDED"));
}

TEST(TopView, ColoursOnlyWhenAsked) {
  EXPECT_THAT(Picture(Busy(), {.width = 80, .color = false}), Not(HasSubstr("\x1b")));
  const std::string picture = Picture(Busy(), {.width = 160, .color = true});
  EXPECT_THAT(picture, HasSubstr("\x1b[1mRUNNING\x1b[0m"));
  EXPECT_THAT(picture, HasSubstr("\x1b[32mSTABLE\x1b[0m"));
  EXPECT_THAT(picture, HasSubstr("\x1b[1;31mUNSTABLE\x1b[0m"));
  EXPECT_THAT(picture, HasSubstr("\x1b[1;31maway 2m\x1b[0m"));
  EXPECT_THAT(picture, HasSubstr("\x1b[1;31mFAILED\x1b[0m"));
}

TEST(TopView, OfAnEmptyServerSaysWhatIsMissing) {
  EXPECT_THAT(RenderTop(TopModel("127.0.0.1:50051").State(AtNoon(), 10), {.width = 80}),
              ElementsAre("mantissa 127.0.0.1:50051   no job runs or waits   12:00:00",
                          "no worker has connected yet; start one with `mantissa-worker`"));
}

TEST(TopView, SaysWhatIsWrongWithTheConnection) {
  EXPECT_EQ(RenderTop(Busy(), {.width = 80}, 0, "the server does not answer")[1], "the server does not answer");
}

TEST(TopView, TellsDrainingWorkersFromThoseThatAreEmpty) {
  TopModel model("here");
  v1::ListWorkersResponse workers;
  v1::Worker& drained = *workers.add_workers() = TopWorker("a", "cpu-0", "", 1);
  drained.set_draining(true);
  drained.set_drain_requested(true);
  v1::Worker& draining = *workers.add_workers() = drained;
  draining.set_id("b");
  draining.add_attempts();
  v1::Worker& stopping = *workers.add_workers() = drained;
  stopping.set_id("c");
  stopping.set_drain_requested(false);
  model.SetWorkers(workers);
  const std::vector<std::string> lines = RenderTop(model.State(AtNoon(), 10), {.width = 80});
  EXPECT_THAT(lines, ElementsAre(HasSubstr("no job"), "", "WORKER  DEVICE    MEMORY  STATE     RUNS",
                                 "a       cpu-0   1.00 GiB  drained   -", "b       cpu-0   1.00 GiB  draining  -",
                                 "c       cpu-0   1.00 GiB  draining  -"));
}

TEST(TopView, ShowsAsMuchOfAnIdAsTellsTheJobsApart) {
  TopModel model("here");
  model.Apply(JobsFrame({TopJob("01jdgts30000000000000000aa", "a", v1::Job::QUEUED),
                         TopJob("01jdgts30000000000000000ab", "b", v1::Job::QUEUED)}),
              AtNoon());
  EXPECT_THAT(Picture(model.State(AtNoon(), 10), {.width = 80}), HasSubstr("b        01jdgts30000000000000000ab"));
  model.Apply(JobsFrame({EndedTopJob("01jdgts30000000000000000ab", "b", v1::Job::CANCELLED, 1)}), AtNoon());
  EXPECT_THAT(Picture(model.State(AtNoon(), 1), {.width = 80}), HasSubstr("01jdgts30000000000000000aa"));
}

TEST(TopView, NothingThatAServerSendsMovesTheCursor) {
  TopModel model("here");
  v1::Job job = TopJob("01jdgts30000000000000000aa", "evil\x1b[2J\nname", v1::Job::QUEUED);
  job.set_state_message("\x1b]0;title\x07");
  model.Apply(JobsFrame({job}), AtNoon());
  for (const std::string& line : RenderTop(model.State(AtNoon(), 10), {.width = 80})) {
    EXPECT_THAT(line, Not(::testing::ContainsRegex("[\x01-\x1f]")));
  }
}

}  // namespace
}  // namespace mantissa::cli
