// What of a report people are shown.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/output/display_text.h"
#include "client/cli/report/column_layout.h"
#include "client/cli/report/report_table.h"
#include "client/cli/report/report_text.h"
#include "tests/unit/cli/sample_reports.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<std::string> LinesOf(const std::string& text) { return absl::StrSplit(text, '\n'); }

constexpr char kId[] = "01jz0000000000000000000001";

std::string Text(const v1::Report& report, int width, const std::string& section = "") {
  return ReportText(report, {.width = width,
                             .job = "digits-precisions",
                             .command = absl::StrCat("mantissa report ", kId, " --section"),
                             .section = section});
}

std::vector<std::string> Names(const v1::Report& report) {
  std::vector<std::string> names;
  for (const ReportSection& section : SectionsOf(report)) names.push_back(section.name);
  return names;
}

// Cells of the column that is headed so.
std::vector<std::string> Column(const ReportSection& section, const std::vector<std::string>& heading) {
  for (const ReportColumn& column : ColumnsOf(section, 100)) {
    if (column.heading == heading) return column.cells;
  }
  ADD_FAILURE() << "no such column";
  return {};
}

constexpr char kComparisonAt80[] = R"(digits-precisions   precision_comparison   on cpu   took 34.2s   torch 2.11.0

BF16 trains this model as well as FP32 does, 1.42 times as fast: its loss is
0.0021 from FP32's, and FP32's own seeds are 0.0048 from each other. FP16
skipped 4.2 % of its iterations.

recommended  BF16
reasons      it is the fastest precision that is WITHIN_NOISE
             FP16 is slower, and farther from FP32 than its seeds are

precisions
                         MEDIAN   P95  SAMPLES
PRECISION  VERDICT           ms    ms       /s               SPEEDUP    LOSS
FP32       REFERENCE       2.13  2.50    30046                     -  0.1234
BF16       WITHIN_NOISE    1.50  1.71    42666  1.420 [1.380, 1.450]  0.1255
TF32       UNSUPPORTED        -     -        -                     -       -
FP16       DIFFERENT       1.90  2.00    33684  1.120 [1.100, 1.140]  0.2000

                                                                EVAL  SKIPPED
PRECISION  VERDICT                         DISTANCE    NOISE    LOSS        %
FP32       REFERENCE                              -  4.80e-3  0.2000        0
BF16       WITHIN_NOISE  2.10e-3 [1.20e-3, 3.00e-3]  4.80e-3  0.2100        0
TF32       UNSUPPORTED                            -        -       -        -
FP16       DIFFERENT      0.07660 [0.05000, 0.1000]  4.80e-3       -     4.20

                           PEAK
                         MEMORY  PARAMETER  GRADIENT  OPTIMIZER  ACTIVATION
PRECISION  VERDICT          KiB        KiB       KiB        KiB         KiB
FP32       REFERENCE      12288       77.0      77.0        154        64.0
BF16       WITHIN_NOISE   11264       77.0      77.0        154        32.0
TF32       UNSUPPORTED        -          0         0          0           0
FP16       DIFFERENT          -       77.0      77.0        154        32.0

PRECISION  VERDICT       NOTE
FP32       REFERENCE
BF16       WITHIN_NOISE
TF32       UNSUPPORTED   this CPU has no arithmetic for TF32; precision.emulate
                         rounds operands to it
FP16       DIFFERENT

curves
PRECISION  SEED  ITERATION    LOSS
FP32          7          1   2.300
BF16          7          1   1.150
FP32          7         11  0.7667
BF16          7         11  0.5750
FP32          7         21  0.4600
BF16          7         21  0.3833
FP32          7         31  0.3286
BF16          7         31  0.2875
FP32          7         41  0.2556
BF16          7         41  0.2300
FP32          7         51  0.2091
BF16          7         51  0.1917
FP32          7         61  0.1769
BF16          7         61  0.1643
FP32          7         71  0.1533
BF16          7         71  0.1437
FP32          7         81  0.1353
BF16          7         81  0.1278
FP32          7         91  0.1211
BF16          7         91  0.1150
and 3 rows more: mantissa report 01jz0000000000000000000001 --section curves

limits
- 150 iterations say nothing of what happens later.
- Three seeds make a wide interval: between 1.38 and 1.45 times as fast, and
  nothing narrower can be said of it.
)";

constexpr char kComparisonAt160[] = R"(digits-precisions   precision_comparison   on cpu   took 34.2s   torch 2.11.0

BF16 trains this model as well as FP32 does, 1.42 times as fast: its loss is 0.0021 from FP32's, and FP32's own seeds are 0.0048 from each other. FP16 skipped
4.2 % of its iterations.

recommended  BF16
reasons      it is the fastest precision that is WITHIN_NOISE
             FP16 is slower, and farther from FP32 than its seeds are

precisions
                                                                                                                                      PEAK
                         MEDIAN   P95  SAMPLES                                                                       EVAL  SKIPPED  MEMORY  PARAMETER  GRADIENT
PRECISION  VERDICT           ms    ms       /s               SPEEDUP    LOSS                    DISTANCE    NOISE    LOSS        %     KiB        KiB       KiB
FP32       REFERENCE       2.13  2.50    30046                     -  0.1234                           -  4.80e-3  0.2000        0   12288       77.0      77.0
BF16       WITHIN_NOISE    1.50  1.71    42666  1.420 [1.380, 1.450]  0.1255  2.10e-3 [1.20e-3, 3.00e-3]  4.80e-3  0.2100        0   11264       77.0      77.0
TF32       UNSUPPORTED        -     -        -                     -       -                           -        -       -        -       -          0         0
FP16       DIFFERENT       1.90  2.00    33684  1.120 [1.100, 1.140]  0.2000   0.07660 [0.05000, 0.1000]  4.80e-3       -     4.20       -       77.0      77.0

                         OPTIMIZER  ACTIVATION
PRECISION  VERDICT             KiB         KiB  NOTE
FP32       REFERENCE           154        64.0
BF16       WITHIN_NOISE        154        32.0
TF32       UNSUPPORTED           0           0  this CPU has no arithmetic for TF32; precision.emulate rounds operands to it
FP16       DIFFERENT           154        32.0

curves
PRECISION  SEED  ITERATION    LOSS
FP32          7          1   2.300
BF16          7          1   1.150
FP32          7         11  0.7667
BF16          7         11  0.5750
FP32          7         21  0.4600
BF16          7         21  0.3833
FP32          7         31  0.3286
BF16          7         31  0.2875
FP32          7         41  0.2556
BF16          7         41  0.2300
FP32          7         51  0.2091
BF16          7         51  0.1917
FP32          7         61  0.1769
BF16          7         61  0.1643
FP32          7         71  0.1533
BF16          7         71  0.1437
FP32          7         81  0.1353
BF16          7         81  0.1278
FP32          7         91  0.1211
BF16          7         91  0.1150
and 3 rows more: mantissa report 01jz0000000000000000000001 --section curves

limits
- 150 iterations say nothing of what happens later.
- Three seeds make a wide interval: between 1.38 and 1.45 times as fast, and nothing narrower can be said of it.
)";

TEST(ReportText, TheWholeOfAComparisonAt80Columns) { EXPECT_EQ(Text(ComparisonReport(), 80), kComparisonAt80); }

TEST(ReportText, TheWholeOfAComparisonAt160Columns) { EXPECT_EQ(Text(ComparisonReport(), 160), kComparisonAt160); }

TEST(ReportText, SentencesAreWrappedInColumnsOfTheirOwn) {
  EXPECT_EQ(Text(FailureReport(), 80), R"(digits-precisions   failure_modes
PARTIAL: not all of it was done; the limits say what is missing.

1 of 2 modes failed here.

modes
MODE             PRECISION  OUTCOME    QUANTITY             REFERENCE     LOW
SMALL_EPSILON    FP16       REMEDIED   largest update          0.1000     Inf
LARGE_REDUCTION  BF16       NOT_SHOWN  sum of 100,000 ones     100000  100000

MODE             REMEDIED  WHAT HAPPENED
SMALL_EPSILON      0.1001  1e-8 is 0 in FP16, and a moment of 0 was divided by
                           it: the update is Inf.
LARGE_REDUCTION         -  The sum was kept in FP32.

MODE             REMEDY
SMALL_EPSILON    Moments and epsilon in FP32, as our optimizers keep them.
LARGE_REDUCTION
)");
}

TEST(ReportText, ScalesArePowersOfTwo) {
  EXPECT_EQ(Text(GradientReport(), 80), R"(digits-precisions   gradient_analysis

A scale of 2^14 loses nothing.

best loss scale  2^14

parameters
                        EXACT
                         ZERO  MEDIAN  SUBNORMAL  FLUSHED
PARAMETER     ELEMENTS      %    log2          %        %
head.weight  1,234,567   25.0   -13.5       40.0   0.0120

scales
 LOSS  SUBNORMAL  FLUSHED  OVERFLOW  SKIPPED
SCALE          %        %         %        %  BEST
  2^0       40.0   0.0120         0        0  no
 2^14          0        0         0        0  yes
 2^24          0        0    1.0e-5      100  no

checks
 LOSS     SKIPPED
SCALE  ITERATIONS    LOSS  NOTE
    -           0  0.3100  FP32
 2^14           0  0.3101
 2^-1           3       -
)");
}

TEST(ReportText, NoLineIsLongerThanTheTerminalIsWide) {
  for (const v1::Report& report : {ComparisonReport(), FailureReport(), GradientReport()}) {
    for (const int width : {60, 80, 100, 160, 240}) {
      for (const std::string& line : LinesOf(Text(report, width))) {
        EXPECT_LE(DisplayWidth(line), width) << line;
      }
    }
  }
}

TEST(ReportText, ATableThatIsAskedForIsWhole) {
  const std::string text = Text(ComparisonReport(), 80, "curves");
  EXPECT_THAT(text, AllOf(HasSubstr("0.1000\n"), Not(HasSubstr("rows more")), Not(HasSubstr("VERDICT"))));
  EXPECT_THAT(text, HasSubstr("BF16 trains this model")) << "what is said of the whole stays";
}

TEST(ReportText, OneRowThatIsCutIsOne) {
  v1::Report report = ComparisonReport();
  auto& curves = *report.mutable_precision_comparison()->mutable_curves();
  ASSERT_GT(curves.size(), 21);
  curves.DeleteSubrange(21, curves.size() - 21);
  EXPECT_THAT(Text(report, 80), HasSubstr("and 1 row more: "));
}

TEST(ReportText, NothingIsMadeUpOfAnEmptyReport) {
  EXPECT_EQ(Text(v1::Report(), 80), "digits-precisions   study\n\n");
  EXPECT_THAT(Names(v1::Report()), IsEmpty());
}

TEST(ReportText, WhatAServerSendsCannotMoveTheCursor) {
  v1::Report report = FailureReport();
  report.set_finding("\x1b[2Jgone");
  report.add_limits("\x1b[2J");
  report.mutable_failure_modes()->mutable_modes(0)->set_quantity("\x1b[2J");
  EXPECT_THAT(Text(report, 80), Not(HasSubstr("\x1b")));
}

TEST(ReportTable, EveryRepeatedMessageWithRowsIsASection) {
  EXPECT_THAT(Names(ComparisonReport()), ElementsAre("precisions", "curves"));
  EXPECT_THAT(Names(GradientReport()), ElementsAre("parameters", "scales", "checks"));
}

TEST(ReportTable, APrefixFitsItsUnitThroughoutATable) {
  const v1::Report report = ReportFrom(R"pb(
    layout_benchmark {
      layouts { m: 4096 n: 1024 k: 1024 precision: FP16 layout: STRIDED median_seconds: 0.0000125 p95_seconds: 0.0015 }
      layouts { m: 4096 n: 1024 k: 1024 precision: FP32 layout: STRIDED median_seconds: 0.000014 }
      peaks { precision: FP16 tflops: 812.5 bytes_per_second: 3221225472 }
    })pb");
  const std::vector<ReportSection> sections = SectionsOf(report);
  ASSERT_THAT(sections, SizeIs(2));
  EXPECT_THAT(Column(sections[0], {"MEDIAN", "us"}), ElementsAre("12.5", "14.0"));
  EXPECT_THAT(Column(sections[0], {"P95", "us"}), ElementsAre("1500", "-")) << "beside the median's";
  EXPECT_THAT(Column(sections[0], {"M"}), ElementsAre("4096", "4096"));
  EXPECT_THAT(Column(sections[1], {"MEMORY", "GiB/s"}), ElementsAre("3.00"));
  EXPECT_THAT(Column(sections[1], {"TFLOPS"}), ElementsAre("812.5"));
}

TEST(ReportTable, WhatTellsRowsApartStandsInFront) {
  const v1::Report report = ReportFrom(R"pb(
    tensor_core { products { m: 255 n: 1 k: 2 precision: BF16 aligned: true padding_gain: 1.5 } }
  )pb");
  std::vector<std::string> keys;
  for (const ReportColumn& column : ColumnsOf(SectionsOf(report)[0], 10)) {
    if (column.key) keys.push_back(column.heading[0]);
  }
  EXPECT_THAT(keys, ElementsAre("M", "N", "K", "PRECISION"));
}

TEST(ReportTable, AColumnThatSpeaksOnlyInRowsThatAreCutIsThere) {
  const v1::Report report = ReportFrom(R"pb(
    precision_comparison {
      curves { precision: FP32 iteration: 1 }
      curves { precision: FP32 seed: 1 iteration: 1 }
    }
  )pb");
  const std::vector<ReportColumn> columns = ColumnsOf(SectionsOf(report)[0], 1);
  ASSERT_THAT(columns, SizeIs(3));
  EXPECT_THAT(columns[1].heading, ElementsAre("SEED"));
  EXPECT_THAT(columns[1].cells, ElementsAre("0"));
}

TEST(ReportTable, NumbersThatAreNoneAreNamed) {
  const v1::Report report = ReportFrom(R"pb(
    format_table {
      values { format: FP16 value: nan rounded: inf outcome: OVERFLOW }
      values { format: FP8_E4M3 value: -inf rounded: nan outcome: OUT_OF_RANGE }
    }
  )pb");
  const ReportSection section = SectionsOf(report)[0];
  EXPECT_THAT(Column(section, {"VALUE"}), ElementsAre("NaN", "-Inf"));
  EXPECT_THAT(Column(section, {"OUTCOME"}), ElementsAre("OVERFLOW", "OUT_OF_RANGE"));
}

TEST(ColumnLayout, KeysThatTakeHalfTheLineAreCutToTheFirst) {
  const std::string wide(30, 'x');
  const std::vector<ReportColumn> columns = {{.heading = {"A"}, .cells = {wide}, .key = true},
                                             {.heading = {"B"}, .cells = {wide}, .key = true},
                                             {.heading = {"C"}, .cells = {wide}, .right = true}};
  EXPECT_EQ(LayOut(columns, 70), absl::StrCat("A", std::string(31, ' '), "B\n", wide, "  ", wide, "\n\nA",
                                              std::string(60, ' '), "C\n", wide, "  ", wide, "\n"));
}

}  // namespace
}  // namespace mantissa::cli
