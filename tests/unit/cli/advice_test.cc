// The playbook's six rules, answered from reports that are made up.
#include "client/cli/advise/advice.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/advise/advice_text.h"
#include "proto/spec/study_report.h"
#include "tests/unit/cli/advised_job.h"
#include "tests/unit/cli/sample_reports.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Answer = RuleAnswer::Answer;
using Kind = v1::StudySpec::KindCase;

constexpr char kFp16[] = "precision { mode: FP16 } ";

StudyOutcome Found(const std::string& report, const std::string& device = "NVIDIA H100") {
  StudyOutcome outcome;
  outcome.report = ReportFrom("device: '" + device + "' " + report);
  outcome.study = spec::StudyOf(*outcome.report);
  outcome.job_id = "01jz0000000000000000000001";
  return outcome;
}

StudyOutcome Failed(Kind study) { return {.study = study, .job_id = "x", .failure = "FAILED, no room"}; }

// FP32, BF16 twice and FP16 2.5 times as fast; `more` replaces fields of the report.
std::string Compared(const std::string& recommended, const std::string& bf16 = "verdict: WITHIN_NOISE",
                     const std::string& fp16 = "verdict: WITHIN_NOISE speedup_low: 2.4 speedup_high: 2.6") {
  return "precision_comparison { precisions { precision: FP32 verdict: REFERENCE speedup: 1 } "
         "precisions { precision: BF16 speedup: 2 speedup_low: 1.9 speedup_high: 2.1 distance: 0.1 noise: 0.2 " +
         bf16 + " } precisions { precision: FP16 speedup: 2.5 " + fp16 + " } " + recommended + " }";
}

std::string Gradients(const std::string& at_first) {
  return "gradient_analysis { best_loss_scale: 1024 scales { loss_scale: 1 flushed_share: 0.2 } "
         "scales { loss_scale: 1024 flushed_share: 0.01 best: true } scales { loss_scale: 65536 " +
         at_first + " } }";
}

std::string Scalers(const std::string& torch,
                    const std::string& apex = "skipped_iterations: 0 calibration_iterations: 0") {
  return "scaler_study { presets { preset: TORCH iterations: 100 " + torch +
         " } presets { preset: APEX iterations: 100 " + apex + " } }";
}

RuleAnswer Rule(int number, const std::string& training, const std::vector<StudyOutcome>& outcomes) {
  const Advice advice = AdviseOn(AdvisedJob(training), outcomes);
  EXPECT_EQ(advice.rules.size(), 6u);
  const RuleAnswer answer = advice.rules.at(static_cast<std::size_t>(number - 1));
  EXPECT_EQ(answer.number, number);
  EXPECT_EQ(answer.answer == Answer::kChange, !answer.changes.empty());
  EXPECT_NE(answer.reason, "");
  return answer;
}

std::string ChangesOf(const RuleAnswer& answer) {
  std::vector<std::string> texts;
  for (const SpecChange& change : answer.changes) {
    texts.push_back(change.field + ": " + change.from + " > " + change.to);
  }
  return absl::StrJoin(texts, "; ");
}

std::string EvidenceOf(const RuleAnswer& answer) { return absl::StrJoin(answer.evidence, "; "); }

TEST(AdviceTest, AFirstScaleThatOverflowsOrLosesMoreIsChanged) {
  const RuleAnswer overflows = Rule(1, kFp16, {Found(Gradients("skipped_share: 0.25 flushed_share: 0.001"))});
  EXPECT_EQ(ChangesOf(overflows), "training.precision.loss_scale.init: 65536 > 1024");
  EXPECT_THAT(overflows.reason, HasSubstr("25.0 % of the iterations"));
  EXPECT_THAT(EvidenceOf(overflows), AllOf(HasSubstr("without scaling FP16 loses 20.0 %"),
                                           HasSubstr("at the best scale, 1024, FP16 loses 1.00 %")));
  const RuleAnswer loses = Rule(1, kFp16, {Found(Gradients("flushed_share: 0.02"))});
  EXPECT_EQ(ChangesOf(loses), "training.precision.loss_scale.init: 65536 > 1024");
  EXPECT_THAT(loses.reason, HasSubstr("2.00 % of the gradients' elements are lost"));
  EXPECT_EQ(Rule(1, kFp16, {Found(Gradients("flushed_share: 0.0105"))}).answer, Answer::kAsItIs);
}

TEST(AdviceTest, AFirstScaleIsJudgedWhereItIsKnown) {
  EXPECT_THAT(Rule(1, kFp16, {Failed(Kind::kGradientAnalysis)}).reason,
              HasSubstr("gradient_analysis has no report: FAILED, no room"));
  EXPECT_EQ(Rule(1, kFp16, {Failed(Kind::kGradientAnalysis)}).answer, Answer::kUnknown);
  EXPECT_EQ(Rule(1, kFp16, {Found("gradient_analysis {}")}).answer, Answer::kUnknown);
  const RuleAnswer beyond =
      Rule(1, "precision { mode: FP16 loss_scale { init: 4294967296 } }", {Found(Gradients("flushed_share: 0"))});
  EXPECT_EQ(beyond.answer, Answer::kUnknown);
  EXPECT_THAT(beyond.reason, HasSubstr("none of those that were tried"));
  const RuleAnswer bf16 = Rule(1, "", {Found(Gradients("skipped_share: 1"))});
  EXPECT_EQ(bf16.answer, Answer::kAsItIs);
  EXPECT_THAT(bf16.reason, HasSubstr("BF16 has FP32's range"));
}

TEST(AdviceTest, APresetThatSkipsMuchGivesWayToOneThatSkipsLess) {
  const RuleAnswer change = Rule(2, kFp16, {Found(Scalers("skipped_iterations: 4 calibration_iterations: 0"))});
  EXPECT_EQ(ChangesOf(change), "training.precision.loss_scale.preset: TORCH > APEX");
  EXPECT_THAT(EvidenceOf(change), HasSubstr("TORCH: skipped 4 of 100"));
  const RuleAnswer few = Rule(2, kFp16, {Found(Scalers("skipped_iterations: 2 calibration_iterations: 0"))});
  EXPECT_EQ(few.answer, Answer::kAsItIs);
  const RuleAnswer none_better = Rule(2, kFp16,
                                      {Found(Scalers("skipped_iterations: 4 calibration_iterations: 0",
                                                     "skipped_iterations: 4 calibration_iterations: 0"))});
  EXPECT_EQ(none_better.answer, Answer::kAsItIs);
  EXPECT_THAT(none_better.reason, HasSubstr("no preset skips less"));
}

TEST(AdviceTest, WhatDoesNotSettleIsNoLongerReadOnceBf16IsTaken) {
  const RuleAnswer scale = Rule(2, kFp16, {Found(Scalers("skipped_iterations: 4"))});
  EXPECT_EQ(scale.answer, Answer::kAsItIs);
  EXPECT_THAT(scale.reason, HasSubstr("there is no loss scale in BF16"));
  EXPECT_EQ(Rule(2, kFp16, {Failed(Kind::kScalerStudy)}).answer, Answer::kUnknown);
  EXPECT_EQ(Rule(2, kFp16, {Found("scaler_study {}")}).answer, Answer::kUnknown);
}

TEST(AdviceTest, TheFastestThatTrainsAsFp32IsTaken) {
  const RuleAnswer faster = Rule(3, "precision { mode: FP32 }", {Found(Compared("recommended: BF16"))});
  EXPECT_EQ(ChangesOf(faster), "training.precision.mode: FP32 > BF16");
  EXPECT_THAT(EvidenceOf(faster),
              HasSubstr("BF16: WITHIN_NOISE, 2.00 times FP32's speed (1.90 to 2.10), its loss 0.100 from"));
  EXPECT_EQ(ChangesOf(Rule(3, "", {Found(Compared("recommended: FP16"))})), "training.precision.mode: BF16 > FP16");
  const RuleAnswer same = Rule(3, "",
                               {Found(Compared("recommended: BF16")), Found("memory_plan {}"),
                                Found("tensor_core { products { precision: BF16 aligned: true } }")});
  EXPECT_EQ(same.answer, Answer::kAsItIs) << same.reason;
}

TEST(AdviceTest, AGainWithinTheIntervalsIsNoReasonToLeaveBf16ButFp16) {
  const std::string close = "verdict: WITHIN_NOISE speedup_low: 2.0 speedup_high: 3.1";
  const RuleAnswer stays = Rule(3, "", {Found(Compared("recommended: FP16", "verdict: WITHIN_NOISE", close))});
  EXPECT_EQ(ChangesOf(stays), "");
  EXPECT_THAT(EvidenceOf(stays), HasSubstr("FP16 is no faster than BF16 by more than the intervals"));
  EXPECT_EQ(ChangesOf(Rule(3, kFp16, {Found(Compared("recommended: BF16", "verdict: WITHIN_NOISE", close))})),
            "training.precision.mode: FP16 > BF16");
  EXPECT_EQ(ChangesOf(Rule(3, "", {Found(Compared("recommended: FP16", "verdict: DIFFERENT", close))})),
            "training.precision.mode: BF16 > FP16")
      << "one that trains to another loss is left, however close its speed";
}

TEST(AdviceTest, WhatTheComparisonCannotTellIsUnknown) {
  const RuleAnswer failed = Rule(3, "", {Failed(Kind::kPrecisionComparison), Failed(Kind::kMemoryPlan)});
  EXPECT_EQ(failed.answer, Answer::kUnknown);
  EXPECT_THAT(failed.reason, HasSubstr("precision_comparison has no report: FAILED"));
  EXPECT_THAT(EvidenceOf(failed), HasSubstr("memory_plan has no report"));
  EXPECT_EQ(Rule(3, "", {Found(Compared("reasons: 'one seed'"))}).reason, "one seed");
}

std::string Memory(const std::string& bf16) {
  return "memory_plan { totals { precision: FP32 largest_batch: 1 estimated_bytes: 9 } totals { precision: BF16 "
         "storage: FP32_PARAMETERS estimated_bytes: 2048 " +
         bf16 + " } }";
}

TEST(AdviceTest, WhatDoesNotFitAtOnceIsCutOrNeedsALargerDevice) {
  EXPECT_EQ(ChangesOf(Rule(3, "batch_size: 100", {Found(Memory("largest_batch: 32"))})),
            "training.accumulation: 1 > 4");
  EXPECT_EQ(ChangesOf(Rule(3, "batch_size: 32", {Found(Memory("largest_batch: 32"))})), "");
  EXPECT_EQ(ChangesOf(Rule(3, "batch_size: 100 micro_batch: AUTO", {Found(Memory("largest_batch: 32"))})), "");
  EXPECT_EQ(ChangesOf(Rule(3, "", {Found(Memory("largest_batch: 0 measured_bytes: 4096"))})),
            "resources.gpu.min_memory_bytes: 0 > 4096");
  EXPECT_EQ(ChangesOf(Rule(3, "", {Found(Memory("largest_batch: 0"), "cpu")})), "resources.memory_bytes: 0 > 2048");
  EXPECT_THAT(EvidenceOf(Rule(3, "", {Found(Memory(""))})), HasSubstr("BF16 takes 2.00 KiB, estimated"));
}

std::string Product(const std::string& row) { return "tensor_core { products { precision: BF16 " + row + " } }"; }

TEST(AdviceTest, PaddingIsAdvisedWhereItPays) {
  const std::string odd = "m: 60 n: 1001 k: 64 padding_gain: ";
  const RuleAnswer pays = Rule(3, "batch_size: 60", {Found(Product(odd + "1.4"))});
  EXPECT_EQ(ChangesOf(pays), "training.model.mlp.hidden[0]: 1001 > 1008; training.batch_size: 60 > 64");
  EXPECT_THAT(EvidenceOf(pays), HasSubstr("(60, 64) times (64, 1001): padded to multiples of 8, 1.40 times as fast"));
  const RuleAnswer little = Rule(3, "batch_size: 60", {Found(Product(odd + "1.04"))});
  EXPECT_EQ(ChangesOf(little), "");
  EXPECT_THAT(EvidenceOf(little), HasSubstr("of 1 products in BF16, padding pays for none"));
  EXPECT_EQ(ChangesOf(Rule(3, "", {Found(Product("aligned: true m: 64 n: 1001 k: 64 padding_gain: 2"))})), "");
  EXPECT_EQ(ChangesOf(Rule(3, "precision { mode: FP32 }", {Found(Product(odd + "1.4"))})), "")
      << "of another precision";
  const RuleAnswer classes = Rule(3, "", {Found(Product("m: 64 n: 10 k: 64 padding_gain: 1.4"))});
  EXPECT_EQ(ChangesOf(classes), "");
  EXPECT_THAT(EvidenceOf(classes), HasSubstr("10 is a size of the data"));
  EXPECT_EQ(ChangesOf(Rule(3, "model { gpt { heads: 3 d_model: 63 } } data { train { synthetic { classes: 64 } } }",
                           {Found(Product("m: 64 n: 64 k: 63 padding_gain: 1.4"))})),
            "training.model.gpt.d_model: 63 > 72")
      << "a multiple of its heads, too";
}

TEST(AdviceTest, OfPaddingALaunchSaysNothing) {
  const std::string odd = "m: 60 n: 1001 k: 64 median_seconds: 4e-6 ";
  const RuleAnswer small = Rule(3, "batch_size: 60", {Found(Product(odd))});
  EXPECT_THAT(EvidenceOf(small), AllOf(HasSubstr("1 product in BF16 took no longer than a launch"),
                                       Not(HasSubstr("padding pays for none"))));
  const RuleAnswer large = Rule(3, "batch_size: 60", {Found(Product(odd + "tflops: 1 padding_gain: 1.04"))});
  EXPECT_THAT(EvidenceOf(large),
              AllOf(HasSubstr("of 1 products in BF16, padding pays for none"), Not(HasSubstr("launch"))));
}

TEST(AdviceTest, OfPaddingACpuSaysNothing) {
  const RuleAnswer answer = Rule(3, "", {Found(Product("m: 60 n: 1001 k: 64 padding_gain: 1.4"), "cpu")});
  EXPECT_EQ(ChangesOf(answer), "");
  EXPECT_THAT(EvidenceOf(answer), HasSubstr("a CPU has no tensor cores"));
  EXPECT_THAT(EvidenceOf(Rule(3, "", {Found(Compared("recommended: BF16"))})), HasSubstr("padding was not tried"));
}

std::string Failures(const std::string& outcome) {
  return "failure_modes { modes { mode: SOFTMAX_OVERFLOW precision: FP16 outcome: " + outcome +
         " quantity: 'loss' reference: 0.5 low: inf remedy: 'Subtract the largest.' } }";
}

TEST(AdviceTest, AnFp16ThatFailsNeedsAWayOut) {
  const RuleAnswer change = Rule(4, kFp16, {Found(Failures("REMEDIED"))});
  EXPECT_EQ(ChangesOf(change),
            "training.precision.on_failure: FAIL > FALLBACK; training.precision.fallback: [] > [BF16, FP32]");
  EXPECT_THAT(EvidenceOf(change), HasSubstr("SOFTMAX_OVERFLOW in FP16: REMEDIED, Subtract the largest."));
  EXPECT_EQ(
      ChangesOf(Rule(4, "precision { mode: FP16 on_failure: FAIL fallback: BF16 }", {Found(Failures("NOT_REMEDIED"))})),
      "training.precision.on_failure: FAIL > FALLBACK");
  EXPECT_EQ(Rule(4, "precision { mode: FP16 fallback: BF16 }", {Found(Failures("REMEDIED"))}).answer, Answer::kAsItIs);
  EXPECT_EQ(Rule(4, "", {Found(Failures("REMEDIED"))}).answer, Answer::kAsItIs);
  EXPECT_THAT(Rule(4, kFp16, {Found(Failures("NOT_SHOWN"))}).reason, HasSubstr("nothing failed"));
}

TEST(AdviceTest, ALossThatIsNotCheckedIsChangedWhateverTheStudySays) {
  const std::string unchecked = "precision { check_loss: false }";
  EXPECT_EQ(ChangesOf(Rule(4, unchecked, {Found(Failures("NOT_SHOWN"))})),
            "training.precision.check_loss: false > true");
  EXPECT_EQ(Rule(4, unchecked, {Failed(Kind::kFailureModes)}).answer, Answer::kChange);
  EXPECT_EQ(Rule(4, "", {Failed(Kind::kFailureModes)}).answer, Answer::kUnknown);
}

TEST(AdviceTest, AnUnstableScaleGivesWayToBf16) {
  const std::string within = "verdict: WITHIN_NOISE";
  const RuleAnswer skips =
      Rule(5, kFp16, {Found(Compared("recommended: FP16", within, within + " skipped_share: 0.06"))});
  EXPECT_EQ(ChangesOf(skips), "training.precision.mode: FP16 > BF16");
  EXPECT_THAT(skips.reason, HasSubstr("skipped 6.00 %"));
  EXPECT_EQ(Rule(5, kFp16, {Found(Compared("recommended: FP16", within, within + " skipped_share: 0.05"))}).answer,
            Answer::kAsItIs);
  EXPECT_EQ(ChangesOf(Rule(5, kFp16, {Found(Compared("recommended: BF16", within, "verdict: FAILED note: 'floor'"))})),
            "training.precision.mode: FP16 > BF16");
  EXPECT_EQ(ChangesOf(Rule(5, kFp16, {Found(Compared("recommended: FP32", "verdict: DIFFERENT", "verdict: FAILED"))})),
            "training.precision.mode: FP16 > FP32");
  EXPECT_EQ(
      ChangesOf(Rule(5, kFp16,
                     {Found(Compared("recommended: FP16", "verdict: UNSUPPORTED", within + " skipped_share: 0.5"))})),
      "training.precision.mode: FP16 > FP32");
  EXPECT_EQ(ChangesOf(Rule(5, kFp16, {Found(Scalers("skipped_iterations: 90"))})),
            "training.precision.mode: FP16 > BF16")
      << "not settled";
}

// A short run is mostly beginning: what a first scale that is too high costs says nothing of the scale that it finds.
TEST(AdviceTest, SkipsBeforeTheScaleHasSettledAreNoInstability) {
  const std::string within = "verdict: WITHIN_NOISE";
  const StudyOutcome compared = Found(Compared("recommended: FP16", within, within + " skipped_share: 0.16"));
  const std::vector<StudyOutcome> early = {compared,
                                           Found(Scalers("skipped_iterations: 16 calibration_iterations: 16"))};
  EXPECT_EQ(Rule(5, kFp16, early).answer, Answer::kAsItIs);
  EXPECT_EQ(Rule(2, kFp16, early).answer, Answer::kAsItIs);
  const std::vector<StudyOutcome> late = {compared,
                                          Found(Scalers("skipped_iterations: 22 calibration_iterations: 16"))};
  EXPECT_EQ(ChangesOf(Rule(5, kFp16, late)), "training.precision.mode: FP16 > BF16");
  EXPECT_THAT(Rule(5, kFp16, late).reason, HasSubstr("once it had settled, the loss scale skipped 7.14 %"));
}

TEST(AdviceTest, WhatTheOldModeAllowedGoesWithIt) {
  const StudyOutcome to_bf16 = Found(Compared("recommended: BF16", "verdict: WITHIN_NOISE", "verdict: FAILED"));
  EXPECT_EQ(ChangesOf(Rule(5, "precision { mode: FP16 fallback: BF16 fallback: FP32 }", {to_bf16})),
            "training.precision.mode: FP16 > BF16; training.precision.fallback: [BF16, FP32] > [FP32]");
  EXPECT_EQ(ChangesOf(Rule(3, "precision { mode: FP16 fallback: BF16 }", {to_bf16})),
            "training.precision.mode: FP16 > BF16; training.precision.fallback: [BF16] > []; "
            "training.precision.on_failure: FALLBACK > FAIL");
  EXPECT_EQ(ChangesOf(Rule(5, "precision { mode: FP16 overrides { match: 'head' compute: FP16 } }", {to_bf16})),
            "training.precision.mode: FP16 > BF16; training.precision.overrides[0].compute: FP16 > BF16");
  EXPECT_EQ(ChangesOf(Rule(3, "precision { mode: BF16 storage: MASTER_FP32 }",
                           {Found(Compared("recommended: FP32", "verdict: DIFFERENT"))})),
            "training.precision.mode: BF16 > FP32; training.precision.storage: MASTER_FP32 > FP32_PARAMETERS");
  EXPECT_EQ(ChangesOf(Rule(5, "precision { mode: FP16 storage: MASTER_FP32 }", {to_bf16})),
            "training.precision.mode: FP16 > BF16");
}

TEST(AdviceTest, AStableScaleStaysAndWithoutOneNothingIsAsked) {
  EXPECT_EQ(Rule(5, kFp16, {Found(Scalers("calibration_iterations: 3"))}).reason, "the loss scale is stable");
  EXPECT_EQ(Rule(5, kFp16, {Failed(Kind::kScalerStudy)}).answer, Answer::kUnknown);
  EXPECT_THAT(Rule(5, "", {}).reason, HasSubstr("BF16 has no loss scale"));
}

TEST(AdviceTest, LossAndNormsAreInFp32AndTheStudyShowsWhatThatSpares) {
  const RuleAnswer answer = Rule(6, kFp16, {Found(Failures("REMEDIED"))});
  EXPECT_EQ(answer.answer, Answer::kAsItIs);
  EXPECT_THAT(EvidenceOf(answer), HasSubstr("SOFTMAX_OVERFLOW, loss: 0.5000 in FP32, Inf in FP16"));
  EXPECT_THAT(EvidenceOf(Rule(6, kFp16, {Failed(Kind::kFailureModes)})), HasSubstr("has no report"));
}

TEST(AdviceTest, AReportOfAnotherStudyIsNone) {
  StudyOutcome wrong = Found(Failures("REMEDIED"));
  wrong.study = Kind::kScalerStudy;
  EXPECT_EQ(Rule(2, kFp16, {wrong}).answer, Answer::kUnknown);
}

TEST(AdviceTextTest, ChangesAreACommandAndNothingFromOutsideMovesTheCursor) {
  StudyOutcome hostile = Failed(Kind::kScalerStudy);
  hostile.failure = "a\x1b[2Jb";
  const std::vector<StudyOutcome> outcomes = {Found(Failures("REMEDIED"), "H\x1b[1m100"), hostile};
  const std::string text = AdviceText(AdviseOn(AdvisedJob(kFp16), outcomes), outcomes, "a b.yaml", " --address x", 80);
  EXPECT_THAT(text,
              HasSubstr("mantissa submit 'a b.yaml' --address x --set training.precision.on_failure=FALLBACK --set "
                        "'training.precision.fallback=[BF16, FP32]'"));
  EXPECT_THAT(text, AllOf(HasSubstr("4  Test the edge cases: change"), HasSubstr("2  Watch the loss scale: UNKNOWN"),
                          HasSubstr("6  Keep loss and norms in FP32: as it is"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(AdviceText(AdviseOn(AdvisedJob(""), {}), {}, "a.yaml", "", 80), Not(HasSubstr("mantissa submit")));
}

TEST(AdviceTextTest, TheCommandIsSafeToCopyWhateverTheFileIsCalled) {
  const std::vector<StudyOutcome> outcomes = {Found(Failures("REMEDIED"))};
  const Advice advice = AdviseOn(AdvisedJob(kFp16), outcomes);
  const auto command_for = [&](const std::string& file) { return AdviceText(advice, outcomes, file, "", 80); };
  EXPECT_THAT(command_for("specs/a-1_b.yaml"), HasSubstr("mantissa submit specs/a-1_b.yaml --set"));
  EXPECT_THAT(command_for("a;rm $(b).yaml"), HasSubstr("mantissa submit 'a;rm $(b).yaml' --set"));
  EXPECT_THAT(command_for("it's.yaml"), HasSubstr("mantissa submit 'it'\\''s.yaml' --set"));
}

TEST(AdviceTextTest, WhatNoFlagReachesIsNotInTheCommand) {
  const std::vector<StudyOutcome> outcomes = {Found(Product("m: 60 n: 1001 k: 64 padding_gain: 1.4"))};
  const std::string text = AdviceText(AdviseOn(AdvisedJob("batch_size: 60"), outcomes), outcomes, "a.yaml", "", 80);
  EXPECT_THAT(text, AllOf(HasSubstr("-> training.model.mlp.hidden[0]: 1008"), HasSubstr("want the file edited:\n"),
                          HasSubstr("  mantissa submit a.yaml --set training.batch_size=64\n")));
}

TEST(AdviceTextTest, JsonSaysTheSame) {
  const std::vector<StudyOutcome> outcomes = {Found(Failures("REMEDIED")), Failed(Kind::kScalerStudy)};
  const auto document = nlohmann::json::parse(AdviceJson(AdviseOn(AdvisedJob(kFp16), outcomes), outcomes));
  EXPECT_EQ(document["device"], "NVIDIA H100");
  EXPECT_EQ(document["studies"][1]["failure"], "FAILED, no room");
  EXPECT_EQ(document["rules"].size(), 6u);
  EXPECT_EQ(document["rules"][3]["answer"], "CHANGE");
  EXPECT_EQ(document["rules"][3]["changes"][0]["to"], "FALLBACK");
  EXPECT_EQ(document["rules"][1]["answer"], "UNKNOWN");
}

}  // namespace
}  // namespace mantissa::cli
