#include "proto/spec/features.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

std::vector<std::string> FeaturesOf(const std::string& changes) {
  return RequiredFeatures(ResolveDefaults(MlpSpec(changes)));
}

TEST(FeaturesTest, APlainSpecNeedsWhatItsDefaultsName) {
  EXPECT_THAT(FeaturesOf(""), ElementsAre("data.synthetic", "model.mlp", "optimizer.adamw", "precision.bf16",
                                          "precision.on_failure.fail", "schedule.constant", "workload.training"));
}

TEST(FeaturesTest, EverythingASpecCanAskForHasItsFeature) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"model { transformer_encoder {} }", "model.transformer_encoder"},
      {"model { gpt {} }", "model.gpt"},
      {"model { convnet {} }", "model.convnet"},
      {"model { sequential {} }", "model.sequential"},
      {"model { pathological {} }", "model.pathological"},
      {"data { train { tokens {} } }", "data.tokens"},
      {"data { train { idx {} } }", "data.idx"},
      {"data { train { text {} } }", "data.text"},
      {"data { eval { text {} } }", "data.text"},
      {"precision { mode: FP32 }", "precision.fp32"},
      {"precision { mode: TF32 }", "precision.tf32"},
      {"precision { mode: FP16 }", "precision.fp16"},
      {"precision { on_failure: CLAMP }", "precision.on_failure.clamp"},
      {"precision { on_failure: ROLLBACK }", "precision.on_failure.rollback"},
      {"precision { on_failure: FALLBACK }", "precision.on_failure.fallback"},
      {"precision { fallback: [TF32, FP32] }", "precision.fp32"},
      {"precision { fallback: [TF32, FP32] }", "precision.on_failure.fallback"},
      {"precision { storage: MASTER_FP32 }", "precision.storage.master_fp32"},
      {"precision { overrides {} }", "precision.overrides"},
      {"precision { emulate: true }", "precision.emulate"},
      {"optimizer { adam {} }", "optimizer.adam"},
      {"optimizer { sgd {} }", "optimizer.sgd"},
      {"schedule { cosine {} }", "schedule.cosine"},
      {"schedule { linear {} }", "schedule.linear"},
      {"execution { mode: GRAPH }", "execution.graph"},
      {"execution { deterministic: true }", "execution.deterministic"},
      {"parameter_groups {}", "training.parameter_groups"},
      {"init_from {}", "training.init_from"},
      {"micro_batch: AUTO", "training.micro_batch"}};
  for (const auto& [changes, feature] : rows) {
    EXPECT_THAT(FeaturesOf("training { " + changes + " }"), Contains(feature)) << changes;
    EXPECT_THAT(FeaturesOf(""), Not(Contains(feature))) << changes;
  }
  EXPECT_THAT(FeaturesOf("resources { gpus: 2 }"), Contains("resources.gpus"));
}

TEST(FeaturesTest, AStudyNeedsItselfAndWhatItTrains) {
  EXPECT_THAT(RequiredFeatures(SpecFrom("study {}")), ElementsAre("workload.study"));
  const v1::JobSpec comparison = ResolveDefaults(
      SpecFrom("study { precision_comparison { precisions: [TF32, FP16] training { model { gpt {} } data { train { "
               "synthetic {} } } optimizer { sgd {} } precision { storage: MASTER_FP32 } } } }"));
  EXPECT_THAT(RequiredFeatures(comparison),
              ElementsAre("data.synthetic", "model.gpt", "optimizer.sgd", "precision.storage.master_fp32",
                          "schedule.constant", "study.precision_comparison", "workload.study"))
      << "a precision that is not there is a row";
  EXPECT_THAT(RequiredFeatures(ResolveDefaults(SpecFrom("study { tensor_core {} }"))),
              ElementsAre("study.tensor_core", "workload.study"));
}

TEST(FeaturesTest, EveryStudyIsBuilt) {
  const google::protobuf::Descriptor& studies = *v1::StudySpec::descriptor();
  for (int i = 0; i < studies.field_count(); ++i) {
    v1::JobSpec spec;
    spec.mutable_study()->GetReflection()->MutableMessage(spec.mutable_study(), studies.field(i));
    EXPECT_THAT(MissingFeatures(RequiredFeatures(ResolveDefaults(spec)), BuiltFeatures()), IsEmpty())
        << studies.field(i)->name();
  }
}

TEST(FeaturesTest, EverySpecThatPassesValidationNeedsOnlyWhatIsBuilt) {
  for (const char* model : {"mlp {}", "transformer_encoder {}", "gpt {}"}) {
    for (const char* mode : {"FP32", "FP16", "BF16"}) {
      for (const char* optimizer : {"adamw {}", "adam {}", "sgd {}"}) {
        for (const char* schedule : {"constant {}", "cosine {}", "linear {}"}) {
          const v1::JobSpec spec = SpecFrom(std::string("training { model { ") + model +
                                            " } data { train { synthetic {} } } precision { mode: " + mode +
                                            " on_failure: CLAMP } optimizer { " + optimizer + " } schedule { " +
                                            schedule + " } execution { deterministic: true } }");
          ASSERT_THAT(ValidateJobSpec(spec), IsEmpty());
          EXPECT_THAT(MissingFeatures(RequiredFeatures(ResolveDefaults(spec)), BuiltFeatures()), IsEmpty());
        }
      }
    }
  }
  for (const char* more : {"init_from { path: 'a' }", "micro_batch: AUTO"}) {
    const v1::JobSpec spec = MlpSpec(std::string("training { ") + more + " }");
    ASSERT_THAT(ValidateJobSpec(spec), IsEmpty());
    EXPECT_THAT(MissingFeatures(RequiredFeatures(ResolveDefaults(spec)), BuiltFeatures()), IsEmpty());
  }
  for (const char* source : {"idx { images: 'a' labels: 'b' }", "text { files: 'a' }"}) {
    const v1::JobSpec spec = SpecFrom(std::string("training { data { train { ") + source + " } } }");
    EXPECT_THAT(MissingFeatures(RequiredFeatures(ResolveDefaults(spec)), BuiltFeatures()), IsEmpty());
  }
}

TEST(FeaturesTest, PrecisionGroupsBundlesAndGraphsAreBuilt) {
  for (const char* changes :
       {"precision { storage: MASTER_FP32 }", "parameter_groups { match: 'head' weight_decay: 0 }",
        "precision { mode: TF32 emulate: true }", "precision { mode: FP32 fallback: TF32 }",
        "precision { overrides { match: 'head' compute: FP32 } }", "precision { loss_spike { action: ROLLBACK } }",
        "checkpoint { bundle: FIRST_SKIP }", "execution { mode: GRAPH }"}) {
    const v1::JobSpec spec = MlpSpec(std::string("training { ") + changes + " }");
    EXPECT_THAT(ValidateJobSpec(spec), IsEmpty()) << changes;
    EXPECT_THAT(MissingFeatures(RequiredFeatures(ResolveDefaults(spec)), BuiltFeatures()), IsEmpty()) << changes;
  }
}

TEST(FeaturesTest, AnOlderWorkerLacksWhatItWouldNotUnderstand) {
  const auto lacks = [](const std::string& changes) {
    return MissingFeatures(RequiredFeatures(ResolveDefaults(MlpSpec("training { " + changes + " }"))),
                           {"data.synthetic", "model.mlp", "optimizer.adamw", "precision.bf16", "precision.fp32",
                            "precision.on_failure.fail", "schedule.constant", "workload.training"});
  };
  using testing::ElementsAre;
  EXPECT_THAT(lacks(""), IsEmpty());
  EXPECT_THAT(lacks("precision { mode: TF32 emulate: true }"), ElementsAre("precision.emulate", "precision.tf32"));
  EXPECT_THAT(lacks("precision { overrides { match: 'head' compute: FP32 } }"), ElementsAre("precision.overrides"));
  EXPECT_THAT(lacks("precision { loss_spike { action: ROLLBACK } }"), ElementsAre("precision.loss_spike.rollback"));
  EXPECT_THAT(lacks("precision { loss_spike {} }"), IsEmpty()) << "advice is no feature";
  EXPECT_THAT(lacks("checkpoint { bundle: FIRST_SKIP }"), ElementsAre("checkpoint.bundle.first_skip"));
  EXPECT_THAT(lacks("execution { mode: GRAPH }"), ElementsAre("execution.graph"));
}

TEST(FeaturesTest, TheListIsSortedAndEachStandsOnce) {
  EXPECT_TRUE(std::is_sorted(BuiltFeatures().begin(), BuiltFeatures().end()));
  EXPECT_EQ(std::adjacent_find(BuiltFeatures().begin(), BuiltFeatures().end()), BuiltFeatures().end());
}

TEST(FeaturesTest, WhatIsMissingIsWhatWasNotAnnounced) {
  EXPECT_THAT(MissingFeatures({"a", "b", "c"}, {"c", "a", "z"}), ElementsAre("b"));
  EXPECT_THAT(MissingFeatures({}, {"a"}), IsEmpty());
  EXPECT_THAT(MissingFeatures({"a"}, {}), ElementsAre("a"));
}

}  // namespace
}  // namespace mantissa::spec
