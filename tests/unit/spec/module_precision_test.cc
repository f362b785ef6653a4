#include "proto/spec/module_precision.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/defaults.h"
#include "proto/spec/precision_report.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Mode = v1::PrecisionSpec;

v1::TrainingSpec Training(const std::string& precision,
                          const std::string& model = "gpt { layers: 2 d_model: 8 heads: 2 }") {
  return ResolveDefaults(
             SpecFrom(absl::StrCat("training { model { ", model, " } data { train { text { files: 'a' } } } ",
                                   "precision { ", precision, " } }")))
      .training();
}

std::vector<Parameter> ParametersOf(const v1::TrainingSpec& training) {
  return ModelParameters(training.model(), *SampleShapeOf(training));
}

// `path FORMAT`, with `stored` where its weights are, of every module whose format is not plain BF16.
std::vector<std::string> Others(const v1::PrecisionSpec& precision, const std::vector<Parameter>& parameters) {
  const std::vector<ComputingModule> modules = ComputingModules(parameters);
  const std::vector<ModuleFormat> formats = FormatsOf(precision, modules);
  std::vector<std::string> others;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (formats[i] == ModuleFormat{Mode::BF16, false}) continue;
    others.push_back(absl::StrCat(modules[i].path, " ", Mode::Mode_Name(formats[i].compute),
                                  formats[i].stored_low ? " stored" : ""));
  }
  return others;
}

std::vector<std::string> Others(const std::string& precision) {
  const v1::TrainingSpec training = Training(precision);
  return Others(training.precision(), ParametersOf(training));
}

std::vector<std::string> Idle(const std::string& precision) {
  const v1::TrainingSpec training = Training(precision);
  std::vector<std::string> faults;
  for (const Violation& violation : FindIdleOverrides(training.precision(), ParametersOf(training))) {
    faults.push_back(absl::StrCat(violation.field_path, ": ", violation.description));
  }
  return faults;
}

TEST(ComputingModulesTest, AreLayersWithProductsAndAttentionInForwardOrder) {
  std::vector<std::string> names;
  for (const ComputingModule& module :
       ComputingModules(ParametersOf(Training("", "gpt { layers: 1 d_model: 8 heads: 2 }")))) {
    names.push_back(absl::StrCat(module.path, " ", std::string(module.type)));
  }
  EXPECT_THAT(names, ElementsAre("blocks.0.attention.qkv Linear", "blocks.0.attention Attention",
                                 "blocks.0.attention.proj Linear", "blocks.0.feed_forward.up Linear",
                                 "blocks.0.feed_forward.down Linear", "head Linear"));
}

TEST(FormatsTest, WithoutOverridesEveryModuleIsInTheMode) { EXPECT_THAT(Others("mode: BF16"), IsEmpty()); }

TEST(FormatsTest, AnOverrideHoldsForWhatItsPathOrTypeCovers) {
  EXPECT_THAT(Others("overrides { match: 'head' compute: FP32 }"), ElementsAre("head FP32"));
  EXPECT_THAT(Others("overrides { match: 'blocks.1.feed_forward' compute: FP32 }"),
              ElementsAre("blocks.1.feed_forward.up FP32", "blocks.1.feed_forward.down FP32"));
  EXPECT_THAT(Others("overrides { match: 'blocks.*.attention.qkv' compute: FP32 }"),
              ElementsAre("blocks.0.attention.qkv FP32", "blocks.1.attention.qkv FP32"));
  EXPECT_THAT(Others("overrides { match: 'Attention' compute: FP32 }"),
              ElementsAre("blocks.0.attention FP32", "blocks.1.attention FP32"));
}

TEST(FormatsTest, ALaterOneOverridesAnEarlierOneFieldByField) {
  EXPECT_THAT(Others("overrides { match: 'blocks' compute: FP32 } overrides { match: 'blocks.0' compute: BF16 } "
                     "overrides { match: 'blocks.1.attention' compute: BF16 }"),
              ElementsAre("blocks.1.feed_forward.up FP32", "blocks.1.feed_forward.down FP32"));
  EXPECT_THAT(Others("overrides { match: 'head' compute: FP32 storage: FP32_PARAMETERS } "
                     "overrides { match: 'head' compute: BF16 }"),
              IsEmpty());
  EXPECT_THAT(Others("storage: MASTER_FP32 overrides { match: '**' storage: FP32_PARAMETERS } "
                     "overrides { match: 'head' storage: MASTER_FP32 }"),
              ElementsAre("head BF16 stored"));
}

TEST(FormatsTest, WeightsAreStoredInOneFormatTheModesBeforeAnyOther) {
  EXPECT_THAT(Others("mode: FP32 overrides { match: 'head' compute: BF16 storage: MASTER_FP32 } "
                     "overrides { match: 'blocks' compute: BF16 }"),
              ElementsAre("head BF16 stored"));
  const auto both = Others(
      "mode: FP16 storage: MASTER_FP32 overrides { match: 'head' compute: BF16 } "
      "overrides { match: 'blocks' storage: FP32_PARAMETERS }");
  EXPECT_EQ(std::count(both.begin(), both.end(), "blocks.0.attention.qkv FP16"), 1);
  EXPECT_EQ(std::count(both.begin(), both.end(), "head BF16 stored"), 0) << "it casts at use";
}

TEST(FormatsTest, WithoutALossScaleFp16MeansTheModeInEffect) {
  v1::TrainingSpec training = Training(
      "mode: FP16 fallback: BF16 overrides { match: 'blocks' compute: FP32 } "
      "overrides { match: 'blocks.0' compute: FP16 }");
  EXPECT_EQ(Others(training.precision(), ParametersOf(training)).front(), "blocks.0.attention.qkv FP16");
  training.mutable_precision()->set_mode(Mode::BF16);  // it fell back
  const auto after = Others(training.precision(), ParametersOf(training));
  EXPECT_EQ(after.front(), "blocks.1.attention.qkv FP32") << "block 0 is in BF16 now";
}

TEST(IdleOverridesTest, AMatchThatCoversNothingThatComputesIsNamedWithTheNearest) {
  EXPECT_THAT(Idle("overrides { match: 'head' compute: FP32 }"), IsEmpty());
  EXPECT_THAT(Idle("overrides { match: 'haed' compute: FP32 }"),
              ElementsAre(AllOf(HasSubstr("training.precision.overrides[0].match: is \"haed\""),
                                HasSubstr("the nearest is \"head\""))));
  EXPECT_THAT(Idle("overrides { match: 'blocks.0.norm1' compute: FP32 }"),
              ElementsAre(HasSubstr("covers no module of this model that computes")));
  EXPECT_THAT(Idle("overrides { match: 'LayerNorm' compute: FP32 }"), ElementsAre(HasSubstr("no module")));
  EXPECT_THAT(Idle("overrides { match: 'head' compute: FP32 } overrides { match: '**' compute: BF16 }"),
              ElementsAre(HasSubstr("overrides[0]: changes nothing, because later overrides")));
}

TEST(IdleOverridesTest, StorageThatCannotBeIsSaidOnceForEachOverride) {
  EXPECT_THAT(
      Idle("mode: FP32 overrides { match: 'blocks' storage: MASTER_FP32 }"),
      ElementsAre(AllOf(HasSubstr("overrides[0].storage: is MASTER_FP32, but blocks.0.attention.qkv computes in "
                                  "FP32"),
                        HasSubstr("remove storage"))));
  EXPECT_THAT(Idle("mode: FP16 storage: MASTER_FP32 overrides { match: 'head' compute: BF16 storage: MASTER_FP32 }"),
              ElementsAre(HasSubstr("computes in BF16 while other weights are stored in FP16")));
  EXPECT_THAT(Idle("mode: FP16 storage: MASTER_FP32 overrides { match: 'head' compute: BF16 }"), IsEmpty())
      << "nobody asked for it by name";
}

TEST(OverriddenReportTest, ModulesInAnotherFormatHaveARowOfTheirOwn) {
  const PrecisionReport report = DescribePrecision(
      Training("mode: BF16 storage: MASTER_FP32 overrides { match: 'blocks.0.attention.qkv' compute: FP32 }"));
  std::vector<std::string> rows;
  for (const ModulePrecision& row : report.modules) {
    if (row.path.ends_with(".qkv")) {
      rows.push_back(absl::StrCat(row.path, " ", row.modules, " ", std::string(FactsOf(row.weight_format).name), " ",
                                  row.weight_stored, " ", row.weight_bytes));
    }
  }
  EXPECT_THAT(rows, ElementsAre("blocks.0.attention.qkv 1 float32 0 0", "blocks.*.attention.qkv 1 bfloat16 1 384"));
  const PrecisionReport without = DescribePrecision(Training("mode: BF16 storage: MASTER_FP32"));
  EXPECT_EQ(report.bytes.casts, without.bytes.casts - 8 * 24 * 2);
}

}  // namespace
}  // namespace mantissa::spec
