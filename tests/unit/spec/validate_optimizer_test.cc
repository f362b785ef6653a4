#include "absl/strings/str_cat.h"

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

void ExpectOptimizerFaults(const std::string& kind, const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    ExpectFaults({{absl::StrCat("training { optimizer { ", kind, " { ", each.changes, " } } }"),
                   each.fault.empty() ? "" : absl::StrCat("training.optimizer.", kind, ".", each.fault)}});
  }
}

TEST(ValidateOptimizerTest, EveryKindChecksItsNumbers) {
  for (const char* kind : {"adamw", "adam", "sgd"}) {
    ExpectOptimizerFaults(kind, {{"", ""},
                                 {"learning_rate: 1000", ""},
                                 {"learning_rate: 0", "learning_rate OUT_OF_RANGE"},
                                 {"learning_rate: -1e-3", "learning_rate OUT_OF_RANGE"},
                                 {"learning_rate: 1001", "learning_rate OUT_OF_RANGE"},
                                 {"learning_rate: nan", "learning_rate OUT_OF_RANGE"},
                                 {"learning_rate: inf", "learning_rate OUT_OF_RANGE"},
                                 {"weight_decay: 0", ""},
                                 {"weight_decay: 1000", ""},
                                 {"weight_decay: -1", "weight_decay OUT_OF_RANGE"},
                                 {"weight_decay: 1001", "weight_decay OUT_OF_RANGE"},
                                 {"weight_decay: nan", "weight_decay OUT_OF_RANGE"}});
  }
}

TEST(ValidateOptimizerTest, AdamKinds) {
  for (const char* kind : {"adamw", "adam"}) {
    ExpectOptimizerFaults(kind, {{"beta1: 0 beta2: 0", ""},
                                 {"beta1: 1", "beta1 OUT_OF_RANGE"},
                                 {"beta1: -0.1", "beta1 OUT_OF_RANGE"},
                                 {"beta2: 1", "beta2 OUT_OF_RANGE"},
                                 {"beta2: nan", "beta2 OUT_OF_RANGE"},
                                 {"epsilon: 1", ""},
                                 {"epsilon: 0", "epsilon OUT_OF_RANGE"},
                                 {"epsilon: 1.1", "epsilon OUT_OF_RANGE"},
                                 {"epsilon: -1e-8", "epsilon OUT_OF_RANGE"}});
  }
}

TEST(ValidateOptimizerTest, Sgd) {
  ExpectOptimizerFaults("sgd", {{"momentum: 0", ""},
                                {"momentum: 0.99 nesterov: true", ""},
                                {"nesterov: true", ""},
                                {"momentum: 1", "momentum OUT_OF_RANGE"},
                                {"momentum: -0.5", "momentum OUT_OF_RANGE"},
                                {"momentum: 0 nesterov: true", "nesterov CONFLICT"}});
}

TEST(ValidateScheduleTest, EveryKindChecksItsWarmup) {
  for (const std::string kind : {"constant", "cosine", "linear"}) {
    const std::string fault = absl::StrCat("training.schedule.", kind, ".warmup_steps ");
    const auto schedule = [&](const std::string& warmup, const std::string& more) {
      return absl::StrCat("training { schedule { ", kind, " { warmup_steps: ", warmup, " } } ", more, " }");
    };
    ExpectFaults({{schedule("0", "iterations: 1"), ""},
                  {schedule("99", "iterations: 100"), ""},
                  {schedule("100", "iterations: 100"), fault + "CONFLICT"},
                  {schedule("63", "epochs: 1"), ""},  // 4096 samples in windows of 64
                  {schedule("64", "epochs: 1"), fault + "CONFLICT"},
                  {schedule("-1", ""), fault + "OUT_OF_RANGE"},
                  {schedule("1000000001", "iterations: 1000000000"), fault + "OUT_OF_RANGE"}});
  }
}

TEST(ValidateScheduleTest, AWarmupOverFilesOfUnknownLengthIsTaken) {
  EXPECT_THAT(Faults(SpecFrom("training { model { gpt {} } data { train { text { files: 'a' } } } "
                              "schedule { cosine { warmup_steps: 100000 } } }")),
              testing::IsEmpty());
}

TEST(ValidateScheduleTest, TheFinalRatioIsAShare) {
  for (const std::string kind : {"cosine", "linear"}) {
    const std::string fault = absl::StrCat("training.schedule.", kind, ".final_ratio OUT_OF_RANGE");
    for (const char* good : {"0", "0.1", "1"}) {
      ExpectFaults({{absl::StrCat("training { schedule { ", kind, " { final_ratio: ", good, " } } }"), ""}});
    }
    for (const char* bad : {"-0.1", "1.1", "nan", "inf"}) {
      ExpectFaults({{absl::StrCat("training { schedule { ", kind, " { final_ratio: ", bad, " } } }"), fault}});
    }
  }
}

}  // namespace
}  // namespace mantissa::spec
