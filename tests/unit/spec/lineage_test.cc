#include "proto/spec/lineage.h"

#include <limits>
#include <set>
#include <string>
#include <vector>

#include "google/protobuf/util/message_differencer.h"
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

v1::PrecisionSpec Precision(const std::string& text) {
  return ResolveDefaults(MlpSpec("training { precision { " + text + " } }")).training().precision();
}

v1::Lineage LineageFrom(const std::string& text) {
  v1::Lineage lineage;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &lineage)) << text;
  return lineage;
}

v1::IndexRange Range(std::int32_t first, std::int32_t last) {
  v1::IndexRange range;
  range.set_first(first);
  range.set_last(last);
  return range;
}

// `KIND FROM-TO`, or `none`.
std::string Choice(const std::string& precision, const std::string& lineage, const v1::IndexRange& iterations) {
  const auto chosen =
      ChooseIntervention(Precision(precision), LineageFrom(lineage), v1::Reason::NUMERIC_FAILURE, iterations);
  if (!chosen) return "none";
  EXPECT_EQ(chosen->reason(), v1::Reason::NUMERIC_FAILURE);
  EXPECT_EQ(chosen->iterations().first(), iterations.first());
  EXPECT_EQ(chosen->iterations().last(), iterations.last());
  return v1::Intervention::Kind_Name(chosen->kind()) + " " + v1::PrecisionSpec::Mode_Name(chosen->from_precision()) +
         "-" + v1::PrecisionSpec::Mode_Name(chosen->to_precision());
}

// The same of a loss that jumped.
bool RollsSpikeBack(const std::string& precision, const std::string& lineage, const v1::IndexRange& iterations) {
  const auto chosen =
      ChooseIntervention(Precision(precision), LineageFrom(lineage), v1::Reason::LOSS_SPIKE, iterations);
  if (!chosen) return false;
  EXPECT_EQ(chosen->kind(), v1::Intervention::ROLLBACK);
  EXPECT_EQ(chosen->reason(), v1::Reason::LOSS_SPIKE);
  EXPECT_EQ(chosen->to_precision(), chosen->from_precision());
  return true;
}

v1::Intervention Rollback(std::int32_t first, std::int32_t last) {
  v1::Intervention intervention;
  intervention.set_kind(v1::Intervention::ROLLBACK);
  intervention.set_from_precision(v1::PrecisionSpec::FP16);
  intervention.set_to_precision(v1::PrecisionSpec::FP16);
  *intervention.mutable_iterations() = Range(first, last);
  return intervention;
}

void ExpectSame(const v1::Lineage& got, const std::string& expected) {
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(got, LineageFrom(expected)))
      << got.ShortDebugString() << "\nexpected: " << expected;
}

TEST(LineageTest, AJobBeginsAsItsSpecSays) {
  ExpectSame(FirstLineage(Precision("mode: FP16")), "number: 1 precision: FP16 learning_rate_factor: 1");
  v1::Job job;
  job.mutable_resolved_spec()->mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::BF16);
  ExpectSame(LineageOf(job), "number: 1 precision: BF16 learning_rate_factor: 1");
  *job.mutable_lineage() = LineageFrom("number: 3 precision: FP32 learning_rate_factor: 0.5");
  ExpectSame(LineageOf(job), "number: 3 precision: FP32 learning_rate_factor: 0.5");
}

TEST(LineageTest, TheSpecSaysWhatAFailureLeadsTo) {
  const std::string fresh = "number: 1 precision: FP16 learning_rate_factor: 1";
  const std::string rolled_back = "number: 2 precision: FP16 rollbacks: 1 troubles { first: 10 last: 20 }";
  const std::string in_bf16 = "number: 2 precision: BF16";
  const std::string in_fp32 = "number: 3 precision: FP32";
  struct Row {
    std::string precision;
    std::string lineage;
    v1::IndexRange iterations;
    std::string expected;
  };
  const std::vector<Row> rows = {
      {"mode: FP16 on_failure: FAIL", fresh, Range(1, 3), "none"},
      {"mode: FP16 on_failure: CLAMP", fresh, Range(1, 50), "none"},
      {"mode: FP16 on_failure: FAIL fallback: BF16", fresh, Range(1, 3), "none"},
      {"mode: FP16 on_failure: CLAMP fallback: BF16", fresh, Range(1, 50), "none"},
      {"mode: FP16 fallback: [BF16, FP32]", fresh, Range(1, 3), "FALLBACK FP16-BF16"},
      {"mode: FP16 fallback: [BF16, FP32]", in_bf16, Range(60, 109), "FALLBACK BF16-FP32"},
      {"mode: FP16 fallback: [BF16, FP32]", in_fp32, Range(120, 169), "none"},
      {"mode: FP16 fallback: [FP32, BF16]", in_fp32, Range(120, 169), "FALLBACK FP32-BF16"},
      {"mode: FP16 on_failure: ROLLBACK", fresh, Range(1, 3), "ROLLBACK FP16-FP16"},
      {"mode: BF16 on_failure: ROLLBACK", in_bf16, Range(1, 50), "ROLLBACK BF16-BF16"},
      // Somewhere else: once more.
      {"mode: FP16 on_failure: ROLLBACK", rolled_back, Range(21, 30), "ROLLBACK FP16-FP16"},
      {"mode: FP16 on_failure: ROLLBACK", rolled_back, Range(1, 9), "ROLLBACK FP16-FP16"},
      // The same again, be it in part: the next intervention.
      {"mode: FP16 on_failure: ROLLBACK", rolled_back, Range(10, 20), "none"},
      {"mode: FP16 on_failure: ROLLBACK", rolled_back, Range(1, 10), "none"},
      {"mode: FP16 on_failure: ROLLBACK fallback: BF16", rolled_back, Range(20, 69), "FALLBACK FP16-BF16"},
      // After the fallback a rollback may help again.
      {"mode: FP16 on_failure: ROLLBACK fallback: BF16",
       "number: 3 precision: BF16 rollbacks: 1 troubles { first: 10 last: 20 }", Range(70, 119), "ROLLBACK BF16-BF16"},
      // All are used up.
      {"mode: FP16 on_failure: ROLLBACK", "precision: FP16 rollbacks: 2", Range(1, 3), "ROLLBACK FP16-FP16"},
      {"mode: FP16 on_failure: ROLLBACK", "precision: FP16 rollbacks: 3", Range(1, 3), "none"},
      {"mode: FP16 on_failure: ROLLBACK fallback: FP32", "precision: FP16 rollbacks: 3", Range(1, 3),
       "FALLBACK FP16-FP32"},
      {"mode: FP16 on_failure: ROLLBACK fallback: FP32", "precision: FP32 rollbacks: 3", Range(1, 3), "none"},
      {"mode: FP16 on_failure: ROLLBACK max_rollbacks: 0", fresh, Range(1, 3), "none"},
      {"mode: FP16 on_failure: ROLLBACK max_rollbacks: 4", "precision: FP16 rollbacks: 3", Range(1, 3),
       "ROLLBACK FP16-FP16"}};
  for (const Row& row : rows) {
    EXPECT_EQ(Choice(row.precision, row.lineage, row.iterations), row.expected)
        << row.precision << " after " << row.lineage << " at " << row.iterations.ShortDebugString();
  }
}

TEST(LineageTest, WithoutAnInterventionThereIsAReason) {
  const v1::Lineage fresh = LineageFrom("number: 1 precision: FP16");
  const v1::Lineage rolled_back = LineageFrom("precision: FP16 rollbacks: 1 troubles { first: 10 last: 20 }");
  const v1::Lineage used_up = LineageFrom("precision: FP16 rollbacks: 3");
  const auto why = [](const std::string& precision, const v1::Lineage& lineage) {
    return WhyNoIntervention(Precision(precision), lineage, v1::Reason::NUMERIC_FAILURE, Range(15, 18));
  };
  EXPECT_EQ(why("mode: FP16 on_failure: FAIL", fresh), "");
  EXPECT_EQ(why("mode: FP16 on_failure: CLAMP fallback: BF16", fresh), "");
  EXPECT_EQ(why("mode: FP16 fallback: BF16", LineageFrom("precision: BF16")),
            "It can't fall back: no precision of fallback is left.");
  EXPECT_THAT(why("mode: FP16 on_failure: ROLLBACK", rolled_back), HasSubstr("the same iterations failed again"));
  EXPECT_THAT(why("mode: FP16 on_failure: ROLLBACK", rolled_back), HasSubstr("there is no fallback"));
  EXPECT_THAT(why("mode: FP16 on_failure: ROLLBACK fallback: BF16", used_up), HasSubstr("3 rollbacks are used"));
}

TEST(LineageTest, ARollbackHalvesTheRateAndLeavesItsWindowsOut) {
  const v1::Lineage first = FirstLineage(Precision("mode: FP16"));
  const v1::Lineage second = NextLineage(first, Rollback(11, 20), "attempt-0001/step-00000008");
  ExpectSame(second,
             "number: 2 precision: FP16 learning_rate_factor: 0.5 rollbacks: 1 skipped_windows { first: 10 last: 19 } "
             "troubles { first: 11 last: 20 } checkpoint: 'attempt-0001/step-00000008'");
  // Iterations 21 to 23 train on windows 30 to 32 now.
  ExpectSame(NextLineage(second, Rollback(21, 23), ""),
             "number: 3 precision: FP16 learning_rate_factor: 0.25 rollbacks: 2 skipped_windows { first: 10 last: 19 } "
             "skipped_windows { first: 30 last: 32 } troubles { first: 11 last: 20 } troubles { first: 21 last: 23 }");
  // Right behind what is left out already, and around it: one range.
  ExpectSame(NextLineage(second, Rollback(11, 12), ""),
             "number: 3 precision: FP16 learning_rate_factor: 0.25 rollbacks: 2 skipped_windows { first: 10 last: 21 } "
             "troubles { first: 11 last: 20 } troubles { first: 11 last: 12 }");
  ExpectSame(NextLineage(second, Rollback(10, 10), ""),
             "number: 3 precision: FP16 learning_rate_factor: 0.25 rollbacks: 2 skipped_windows { first: 9 last: 19 } "
             "troubles { first: 11 last: 20 } troubles { first: 10 last: 10 }");
  ExpectSame(NextLineage(second, Rollback(9, 12), ""),
             "number: 3 precision: FP16 learning_rate_factor: 0.25 rollbacks: 2 skipped_windows { first: 8 last: 21 } "
             "troubles { first: 11 last: 20 } troubles { first: 9 last: 12 }");
  ExpectSame(NextLineage(second, Rollback(1, 2), ""),
             "number: 3 precision: FP16 learning_rate_factor: 0.25 rollbacks: 2 skipped_windows { first: 0 last: 1 } "
             "skipped_windows { first: 10 last: 19 } troubles { first: 11 last: 20 } troubles { first: 1 last: 2 }");
}

TEST(LineageTest, AFallbackChangesThePrecisionAndNothingElse) {
  const v1::Lineage before = LineageFrom(
      "number: 2 precision: FP16 learning_rate_factor: 0.5 rollbacks: 1 skipped_windows { first: 3 last: 4 } "
      "troubles { first: 4 last: 5 } checkpoint: 'a'");
  const auto fallback =
      ChooseIntervention(Precision("mode: FP16 fallback: BF16"), before, v1::Reason::SCALE_AT_MINIMUM, Range(30, 32));
  ASSERT_TRUE(fallback.has_value());
  ExpectSame(NextLineage(before, *fallback, "b"),
             "number: 3 precision: BF16 learning_rate_factor: 0.5 rollbacks: 1 skipped_windows { first: 3 last: 4 } "
             "troubles { first: 4 last: 5 } checkpoint: 'b'");
}

TEST(LineageTest, IterationsTrainOnTheWindowsThatAreLeft) {
  const v1::Lineage all = LineageFrom("number: 1");
  EXPECT_EQ(WindowAfter(all, 0), 0);
  EXPECT_EQ(WindowAfter(all, 1'000'000'000'000), 1'000'000'000'000);
  const v1::Lineage some = LineageFrom("skipped_windows { first: 0 last: 1 } skipped_windows { first: 4 last: 4 }");
  std::vector<std::int64_t> windows;
  for (int iteration = 0; iteration < 6; ++iteration) windows.push_back(WindowAfter(some, iteration));
  EXPECT_THAT(windows, ElementsAre(2, 3, 5, 6, 7, 8));
}

TEST(LineageTest, WindowsAreSkippedOnceAndNoneThatWasNotTroubled) {
  // A model: the troubled windows as a set, over many rollbacks at seeded places.
  std::uint32_t random = 7;
  for (int round = 0; round < 200; ++round) {
    v1::Lineage lineage = FirstLineage(Precision("mode: FP16"));
    std::set<std::int64_t> skipped;
    const auto window_after = [&](std::int64_t iteration) {
      for (std::int64_t window = 0;; ++window) {
        if (skipped.contains(window)) continue;
        if (iteration-- == 0) return window;
      }
    };
    for (int rollback = 0; rollback < 4; ++rollback) {
      random = random * 1664525u + 1013904223u;
      const auto first = static_cast<std::int32_t>(1 + (random >> 16) % 30);
      const auto last = static_cast<std::int32_t>(first + (random >> 24) % 5);
      const std::int64_t from = window_after(first - 1);
      const std::int64_t to = window_after(last - 1);
      for (std::int64_t window = from; window <= to; ++window) skipped.insert(window);
      lineage = NextLineage(lineage, Rollback(first, last), "");
      for (std::int64_t iteration = 0; iteration < 60; ++iteration) {
        ASSERT_EQ(WindowAfter(lineage, iteration), window_after(iteration)) << lineage.ShortDebugString();
      }
      for (int i = 1; i < lineage.skipped_windows_size(); ++i) {
        ASSERT_GT(lineage.skipped_windows(i).first(), lineage.skipped_windows(i - 1).last() + 1);
      }
    }
  }
}

TEST(LineageTest, WhatIsNoRunOfIterationsIsSeen) {
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  const v1::Lineage first = FirstLineage(Precision("mode: FP16"));
  EXPECT_TRUE(IsRunOfIterations(first, Range(1, 1)));
  EXPECT_TRUE(IsRunOfIterations(first, Range(1, kMost - 1)));
  EXPECT_FALSE(IsRunOfIterations(first, Range(1, kMost)));
  EXPECT_FALSE(IsRunOfIterations(first, Range(0, 3)));
  EXPECT_FALSE(IsRunOfIterations(first, Range(-5, -2)));
  EXPECT_FALSE(IsRunOfIterations(first, Range(4, 3)));
  EXPECT_FALSE(IsRunOfIterations(LineageFrom("skipped_windows { first: 0 last: 9 }"), Range(1, kMost - 10)));
  EXPECT_TRUE(IsRunOfIterations(LineageFrom("skipped_windows { first: 0 last: 9 }"), Range(1, kMost - 11)));
}

TEST(LineageTest, ALossThatJumpedIsRolledBackWhereTheSpecSaysSoAndNothingElse) {
  const std::string guard = "loss_spike { action: ROLLBACK } ";
  EXPECT_TRUE(RollsSpikeBack(guard, "number: 1", Range(10, 12)));
  EXPECT_TRUE(RollsSpikeBack(guard + "on_failure: FALLBACK fallback: FP32", "number: 1", Range(10, 12)));
  EXPECT_FALSE(RollsSpikeBack("loss_spike { action: ADVISE }", "number: 1", Range(10, 12)));
  EXPECT_FALSE(RollsSpikeBack("on_failure: ROLLBACK", "number: 1", Range(10, 12))) << "that is about precision";
  // Another precision is no answer to it.
  const std::string used = "number: 4 rollbacks: 3";
  EXPECT_FALSE(RollsSpikeBack(guard + "on_failure: ROLLBACK fallback: FP32", used, Range(10, 12)));
  EXPECT_FALSE(RollsSpikeBack(guard, "number: 2 rollbacks: 1 troubles { first: 12 last: 14 }", Range(10, 12)));
  EXPECT_EQ(Choice(guard + "on_failure: FAIL", "number: 1", Range(10, 12)), "none") << "nor does it answer an overflow";
}

TEST(LineageTest, WhyALossThatJumpedIsNotRolledBack) {
  const auto why = [](const std::string& precision, const std::string& lineage) {
    return WhyNoIntervention(Precision(precision), LineageFrom(lineage), v1::Reason::LOSS_SPIKE, Range(15, 18));
  };
  const std::string guard = "loss_spike { action: ROLLBACK } ";
  EXPECT_EQ(why("", "number: 1"), "");
  EXPECT_THAT(why(guard, "number: 2 rollbacks: 1 troubles { first: 18 last: 18 }"), HasSubstr("has not helped"));
  EXPECT_THAT(why(guard, "number: 4 rollbacks: 3"), HasSubstr("3 rollbacks are used"));
}

TEST(LineageTest, WhoRollsSpikesBackMayHaveToGoBackButNotToFallBack) {
  const v1::PrecisionSpec guarded = Precision("on_failure: FAIL loss_spike { action: ROLLBACK }");
  EXPECT_TRUE(MayIntervene(guarded));
  EXPECT_TRUE(MayRollBack(guarded));
  EXPECT_FALSE(MayFallBack(guarded));
  EXPECT_TRUE(MayRollBack(Precision("on_failure: ROLLBACK")));
  EXPECT_FALSE(MayRollBack(Precision("fallback: FP32")));
  EXPECT_TRUE(MayFallBack(Precision("fallback: FP32")));
  EXPECT_TRUE(MayFallBack(Precision("on_failure: ROLLBACK")));
}

TEST(LineageTest, OnlyWhoMayHaveToGoBackNeedsAGenerationToGoBackTo) {
  EXPECT_TRUE(MayIntervene(Precision("on_failure: ROLLBACK")));
  EXPECT_TRUE(MayIntervene(Precision("fallback: FP32")));
  EXPECT_FALSE(MayIntervene(Precision("on_failure: FAIL")));
  EXPECT_FALSE(MayIntervene(Precision("on_failure: CLAMP")));
}

}  // namespace
}  // namespace mantissa::spec
