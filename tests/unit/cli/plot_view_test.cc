// The picture of a job, in a terminal.
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/output/display_text.h"
#include "client/cli/plot/text_plot.h"
#include "tests/unit/cli/plot_records.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

PlotData Read(const std::vector<v1::Segment>& segments, const std::vector<v1::JobEvent>& events = {}) {
  PlotReader reader;
  for (const v1::Segment& segment : segments) reader.Add(segment);
  for (const v1::JobEvent& event : events) reader.AddEvent(event);
  return reader.Take();
}

PlotData Learning() {
  return Read({PlotSegment(LearningRecords())}, {PlotEvaluated(20, 0.3), PlotEvaluated(40, 0.05)});
}

std::string Drawn(const Picture& picture, const ViewOptions& options, int height) {
  return "\n" + absl::StrJoin(RenderPlot(picture, options, height), "\n") + "\n";
}

Picture PictureOf(const PlotData& data, v1::Job::State state = v1::Job::SUCCEEDED) {
  return MakePicture(ExampleJob(state), data, {});
}

TEST(PlotView, IsThePictureInBraille) {
  EXPECT_EQ(Drawn(PictureOf(Learning()), {.width = 64}, 24), R"(
digits-fp16   SUCCEEDED   attempt 1   FP16   40 records
loss   last 0.0398   lowest 0.0398   highest 2.15
      │⠒⠤⠤⠤⣀⡀
    1 ┤     ⠈⠑⠒⠒⠢⠤⣀⡀
      │            ⠈⠉⠉⠑⠒⠤⢄⣀⣀
  0.3 ┤                     ⠉⠑⠒⠒⠢⠤●⣀⣀
      │                              ⠉⠑⠒⠒⠢⢄⣀⣀⡀
  0.1 ┤                                      ⠈⠉⠒⠒⠒⠤⠤⠤⣀⣀⣀
      │                                                 ⠉⠉⠑⠒⠒⠢⠤●
loss scale   last 16384   ▼ 2 iterations skipped (5.0 %)
        ▼    ▼
65536 ┤⠒⠲⡀
      │  ⢱
32768 ┤   ⠓⠒⠒⡆
      │      ⢸
16384 ┤       ⠧⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤
grad norm   last 1.46   highest 1.50
  1.5 ┤ ⢀⠤⠒⠒⡄             ⢀⠔⠒⠢⢄             ⡠⠔⠒⠒⢄             ⢀⠔
      │⠊⠁   ⠈⢢           ⡰⠁    ⠣⡀          ⡔⠁    ⠑⡄          ⡰⠁
  1.0 ┤       ⠱⡀       ⢀⠎       ⠘⢄       ⢀⠜       ⠈⢢       ⢀⠎
      │        ⠑⢄     ⡰⠁          ⠣⡀    ⡠⠊          ⠑⡄    ⡠⠊
  0.5 ┤          ⠑⠢⠤⠔⠊             ⠈⠒⠤⠔⠊             ⠈⠒⠤⠤⠊
      └─────────────┬─────────────┬──────────────┬─────────────┬
                   10            20             30            40
)");
}

TEST(PlotView, IsThePictureInAscii) {
  EXPECT_EQ(Drawn(PictureOf(Learning()), {.width = 64, .utf8 = false}, 24), R"(
digits-fp16   SUCCEEDED   attempt 1   FP16   40 records
loss   last 0.0398   lowest 0.0398   highest 2.15
      |'...
    1 +    ''''....
      |            '''''....
  0.3 +                     ''''..o..
      |                              ''''....
  0.1 +                                      ''''''......
      |                                                  ''''''o
loss scale   last 16384   v 2 iterations skipped (5.0 %)
        v    v
65536 +''.
      |  '.
32768 +   ''':
      |      '.
16384 +       :.................................................
grad norm   last 1.46   highest 1.50
  1.5 + ..'.               .''.             .''.               .
      |'    '.           .'    :           .'   ''.          .'
  1.0 +       '.        :       '.       .'       '.        :
      |         '.   .''          :     .'          '.    .'
  0.5 +          '.''              ''.''              :..'
      +-------------+-------------+--------------+-------------+
                   10            20             30            40
)");
}

TEST(PlotView, NoLineIsWiderThanAskedAndTheHeightIsKept) {
  for (const int width : {40, 61, 80, 160, 237}) {
    for (const int height : {16, 24, 40}) {
      const std::vector<std::string> lines = RenderPlot(PictureOf(Learning()), {.width = width}, height);
      for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), width) << line;
      if (height >= 24) {
        EXPECT_THAT(lines, SizeIs(height));
      }
    }
  }
}

TEST(PlotView, ColoursEndWhereTheyBegan) {
  const std::string colored = Drawn(PictureOf(Learning()), {.width = 64, .color = true}, 24);
  EXPECT_THAT(colored, HasSubstr("\x1b[36m"));
  EXPECT_THAT(colored, HasSubstr("\x1b[1;31m▼\x1b[0m"));
  std::string plain;
  for (std::size_t i = 0; i < colored.size(); ++i) {
    if (colored[i] == '\x1b') {
      i = colored.find('m', i);
    } else {
      plain += colored[i];
    }
  }
  EXPECT_EQ(plain, Drawn(PictureOf(Learning()), {.width = 64}, 24)) << "colours move nothing";
}

TEST(PlotView, WhatIsNoNumberIsMarkedAndBreaksTheLine) {
  const PlotData data = Read({PlotSegment({{.iteration = 1, .loss = 1},
                                           {.iteration = 2, .loss = kNan, .applied = false},
                                           {.iteration = 3, .loss = kInf, .applied = false},
                                           {.iteration = 4, .loss = 1},
                                           {.iteration = 5, .loss = 2}})});
  const Picture picture = PictureOf(data);
  ASSERT_THAT(picture.panels, SizeIs(3));
  const Panel& loss = picture.panels[0];
  EXPECT_THAT(loss.facts, AllOf(Contains("NaN at 1"), Contains("Inf at 1")));
  ASSERT_THAT(loss.strokes, SizeIs(3));
  EXPECT_FALSE(loss.strokes[1].joined) << "nobody knows how it came from 1 to 4";
  EXPECT_TRUE(loss.strokes[2].joined);
  EXPECT_THAT(RenderPlot(picture, {.width = 60}, 24)[2], AllOf(HasSubstr("N"), HasSubstr("I")));
}

TEST(PlotView, AJobThatOnlySawNanIsStillDrawn) {
  const Picture picture =
      PictureOf(Read({PlotSegment({{.iteration = 1, .loss = kNan, .scale = std::nullopt, .applied = false},
                                   {.iteration = 2, .loss = kNan, .scale = std::nullopt, .applied = false}})}),
                v1::Job::FAILED);
  ASSERT_THAT(picture.panels, SizeIs(1));
  EXPECT_THAT(picture.panels[0].facts, Contains("NaN at 2"));
  EXPECT_THAT(picture.notes, Contains("no grad norm: every iteration was skipped"));
  EXPECT_THAT(RenderPlot(picture, {.width = 60}, 20), Not(IsEmpty()));
}

TEST(PlotView, WithoutALossScaleItSaysSoAndMarksSkipsAboveTheLoss) {
  v1::Job job = ExampleJob(v1::Job::RUNNING);
  job.mutable_resolved_spec()->mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::FP32);
  const PlotData data = Read({PlotSegment({{.iteration = 1, .scale = std::nullopt},
                                           {.iteration = 2, .scale = std::nullopt, .applied = false},
                                           {.iteration = 3, .scale = std::nullopt}})});
  const Picture picture = MakePicture(job, data, {});
  ASSERT_THAT(picture.panels, SizeIs(2));
  EXPECT_EQ(picture.panels[1].title, "grad norm");
  EXPECT_THAT(picture.notes, ElementsAre("no loss scale: FP32 runs without one"));
  ASSERT_THAT(picture.panels[0].marks, SizeIs(1));
  EXPECT_EQ(picture.panels[0].marks[0].iteration, 2);
}

TEST(PlotView, AttemptsAndLineagesAreToldApartAndWhatWasTrainedAgainIsDim) {
  const PlotData data = Read({PlotSegment({{.iteration = 1}, {.iteration = 2}, {.iteration = 3}}),
                              PlotSegment({{.iteration = 3}, {.iteration = 4}}, 2),
                              PlotSegment({{.iteration = 2}, {.iteration = 5}}, 3, 2)});
  const Picture picture = PictureOf(data);
  EXPECT_THAT(picture.notes, ElementsAre("attempt 2 from iteration 3 on", "attempt 3, lineage 2 from iteration 2 on"));
  const std::vector<Stroke>& strokes = picture.panels[0].strokes;
  ASSERT_THAT(strokes, SizeIs(7));
  std::vector<bool> superseded, joined;
  for (const Stroke& stroke : strokes) {
    superseded.push_back(stroke.superseded);
    joined.push_back(stroke.joined);
  }
  EXPECT_THAT(superseded, ElementsAre(false, true, true, true, true, false, false));
  EXPECT_THAT(joined, ElementsAre(false, true, true, false, true, false, true));
  EXPECT_THAT(Drawn(picture, {.width = 60}, 24), HasSubstr("╎"));
}

TEST(PlotView, MissingRecordsAreSaidAndShownOnTheEdge) {
  const PlotData data = Read({PlotSegment({{.iteration = 1}, {.iteration = 10}}), PlotGapSegment(1, 40, 11, 50),
                              PlotSegment({{.iteration = 51}, {.iteration = 100}}), PlotGapSegment(1, 0, 0, 0)});
  const Picture picture = PictureOf(data);
  EXPECT_THAT(picture.notes, ElementsAre("40 records of attempt 1 are missing, iterations 11 to 50",
                                         "records of attempt 1 are missing"));
  ASSERT_THAT(picture.panels[0].strokes, SizeIs(4));
  EXPECT_FALSE(picture.panels[0].strokes[2].joined);
  EXPECT_THAT(Drawn(picture, {.width = 60}, 24), HasSubstr("┄┄┄"));
  EXPECT_THAT(Drawn(picture, {.width = 60, .utf8 = false}, 24), HasSubstr("~~~"));
}

TEST(PlotView, ManyAttemptsAreSummedUp) {
  std::vector<v1::Segment> segments;
  for (int attempt = 1; attempt <= 30; ++attempt) segments.push_back(PlotSegment({{.iteration = attempt}}, attempt));
  const Picture picture = PictureOf(Read(segments));
  ASSERT_THAT(picture.notes, SizeIs(6));
  EXPECT_EQ(picture.notes.back(), "and 24 more of these");
}

TEST(PlotView, AThinnedRowIsALineFromItsMinimumToItsMaximum) {
  v1::Segment segment;
  segment.set_attempt(1);
  segment.set_count(2);
  AddIntegers(segment, v1::Column::ITERATION, {100, 200});
  AddDoubles(segment, v1::Column::LOSS, v1::Column::STATISTIC_UNSPECIFIED, {2.0, 1.0});
  AddDoubles(segment, v1::Column::LOSS, v1::Column::MINIMUM, {1.0, 0.5});
  AddDoubles(segment, v1::Column::LOSS, v1::Column::MAXIMUM, {4.0, 3.0});
  const Picture picture = PictureOf(Read({segment}));
  const Stroke& first = picture.panels[0].strokes[0];
  EXPECT_EQ(first.low, 1);
  EXPECT_EQ(first.high, 4);
  EXPECT_EQ(first.last, 2);
  EXPECT_THAT(picture.panels[0].facts, ElementsAre("last 1.00", "lowest 0.500", "highest 4.00"));
}

TEST(PlotView, LossesThatAreFarApartHaveALogAxisUnlessAskedOtherwise) {
  const PlotData far = Read({PlotSegment({{.iteration = 1, .loss = 10}, {.iteration = 2, .loss = 0.1}})});
  const PlotData near = Read({PlotSegment({{.iteration = 1, .loss = 2}, {.iteration = 2, .loss = 1}})});
  EXPECT_EQ(PictureOf(far).panels[0].axis.kind, AxisKind::kLog);
  EXPECT_EQ(PictureOf(near).panels[0].axis.kind, AxisKind::kLinear);
  EXPECT_EQ(MakePicture(ExampleJob(), far, {.loss_axis = AxisKind::kLinear}).panels[0].axis.kind, AxisKind::kLinear);
  EXPECT_EQ(MakePicture(ExampleJob(), near, {.loss_axis = AxisKind::kLog}).panels[0].axis.kind, AxisKind::kLog);
}

TEST(PlotView, OneRecordIsEnough) {
  const std::vector<std::string> lines =
      RenderPlot(PictureOf(Read({PlotSegment({{.iteration = 7}})})), {.width = 60}, 20);
  EXPECT_THAT(lines.front(), HasSubstr("1 record"));
  EXPECT_THAT(lines.back(), HasSubstr("7"));
}

}  // namespace
}  // namespace mantissa::cli
