#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"

#include "proto/spec/defaults.h"
#include "proto/spec/study_report.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kTraining[] = "model { mlp { hidden: 8 } } data { train { synthetic {} } } iterations: 20 ";

v1::JobSpec Study(const std::string& text) { return SpecFrom("study { " + text + " }"); }

// A study that trains, with its training spec and what else is said of it.
v1::JobSpec Training(const std::string& study, const std::string& more = "", const std::string& changes = "") {
  v1::JobSpec spec = Study(absl::StrCat(study, " { training { ", kTraining, " } ", more, " }"));
  const std::string changed = absl::StrCat("study { ", study, " { training { ", changes, " } } }");
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(changed, &spec)) << changed;
  return spec;
}

// What is said beside the training spec, and the one fault it makes, beneath `study.NAME`; no fault when empty.
void ExpectStudyFaults(const std::string& study, const std::vector<Case>& cases, const std::string& training = "") {
  for (const Case& each : cases) {
    const v1::JobSpec spec =
        training.empty() ? Study(absl::StrCat(study, " { ", each.changes, " }")) : Training(study, each.changes);
    if (each.fault.empty()) {
      EXPECT_THAT(Faults(spec), IsEmpty()) << study << ": " << each.changes;
    } else {
      EXPECT_THAT(Faults(spec), ElementsAre(absl::StrCat("study.", study, ".", each.fault)))
          << study << ": " << each.changes;
    }
  }
}

const std::vector<std::string> kTrain = {"precision_comparison", "gradient_analysis", "memory_plan", "scaler_study"};

TEST(ValidateStudyTest, AStudyIsNamed) {
  EXPECT_THAT(Faults(SpecFrom("study {}")), ElementsAre("study REQUIRED"));
  EXPECT_THAT(ValidateJobSpec(SpecFrom("study {}"))[0].description, HasSubstr("scaler_study"));
}

TEST(ValidateStudyTest, EachOfThemIsGoodAsShortAsItCanBe) {
  for (const std::string& study : kTrain) EXPECT_THAT(Faults(Training(study)), IsEmpty()) << study;
  for (const char* study : {"format_table", "layout_benchmark", "tensor_core", "failure_modes"}) {
    EXPECT_THAT(Faults(Study(absl::StrCat(study, " {}"))), IsEmpty()) << study;
  }
}

TEST(ValidateStudyTest, WhatATrainingStudyTrainsIsRequiredAndChecked) {
  for (const std::string& study : kTrain) {
    EXPECT_THAT(Faults(Study(study + " {}")), ElementsAre(absl::StrCat("study.", study, ".training REQUIRED")));
    EXPECT_THAT(Faults(Training(study, "", "batch_size: 0 max_grad_norm: -1")),
                ElementsAre(absl::StrCat("study.", study, ".training.batch_size OUT_OF_RANGE"),
                            absl::StrCat("study.", study, ".training.max_grad_norm OUT_OF_RANGE")));
  }
}

TEST(ValidateStudyTest, ThePathsOfItsDataAreChecked) {
  const std::string idx = "idx { images: '../a' labels: 'b' }";
  EXPECT_THAT(Faults(Training("scaler_study", "", "data { train { " + idx + " } }")),
              ElementsAre("study.scaler_study.training.data.train.idx.images INVALID_FORMAT"));
}

TEST(ValidateStudyTest, WhatAStudyDoesNotReadIsRefused) {
  const std::vector<Case> of_all = {
      {"init_from { path: 'a' }", "init_from"},
      {"checkpoint { every_steps: 5 }", "checkpoint"},
      {"telemetry { every_iterations: 5 }", "telemetry"},
      {"micro_batch: AUTO", "micro_batch"},
      {"execution { mode: GRAPH }", "execution.mode"},
      {"data { eval { synthetic {} } } evaluation { every_steps: 5 }", "evaluation.every_steps"}};
  const std::vector<Case> of_precision = {{"precision { on_failure: FAIL }", "precision.on_failure"},
                                          {"precision { fallback: FP32 }", "precision.fallback"},
                                          {"precision { max_rollbacks: 1 }", "precision.max_rollbacks"},
                                          {"precision { loss_spike { factor: 3 } }", "precision.loss_spike"},
                                          {"precision { statistics_window: 10 }", "precision.statistics_window"},
                                          {"precision { mode: FP16 }", "precision.mode"}};
  for (const std::string& study : kTrain) {
    std::vector<Case> cases = of_all;
    if (study == "gradient_analysis") {
      cases.push_back({"precision { check_loss: false }", "precision"});
    } else {
      cases.insert(cases.end(), of_precision.begin(), of_precision.end());
    }
    for (const Case& each : cases) {
      const v1::JobSpec spec = Training(study, "", each.changes);
      EXPECT_THAT(Faults(spec), ElementsAre(absl::StrCat("study.", study, ".training.", each.fault, " CONFLICT")))
          << each.changes;
    }
  }
  EXPECT_THAT(Faults(Training("scaler_study", "", "precision { loss_scale { preset: APEX } }")),
              ElementsAre("study.scaler_study.training.precision.loss_scale CONFLICT"));
  EXPECT_THAT(Faults(Training("precision_comparison", "", "precision { loss_scale { preset: APEX } }")), IsEmpty());
  EXPECT_THAT(Faults(Training("precision_comparison", "", "precision { storage: MASTER_FP32 emulate: true }")),
              IsEmpty());
  EXPECT_THAT(Faults(Training("memory_plan", "", "execution { deterministic: true }")), IsEmpty());
  EXPECT_THAT(Faults(Training("gradient_analysis", "", "precision {} checkpoint {}")), IsEmpty())
      << "an empty section says nothing";
}

TEST(ValidateStudyTest, PrecisionsAreKnownAndStandOnce) {
  for (const char* study : {"layout_benchmark", "tensor_core"}) {
    ExpectStudyFaults(study, {{"precisions: [FP32, FP16, BF16, TF32]", ""},
                              {"precisions: [FP16, FP16]", "precisions[1] CONFLICT"},
                              {"precisions: MODE_UNSPECIFIED", "precisions[0] UNKNOWN_VALUE"},
                              {"precisions: [FP32, FP32, FP32, FP32, FP32, FP32]", "precisions OUT_OF_RANGE"}});
  }
  for (const char* study : {"precision_comparison", "memory_plan"}) {
    ExpectStudyFaults(study, {{"precisions: BF16", ""}, {"precisions: [FP16, FP16]", "precisions[1] CONFLICT"}},
                      kTraining);
  }
  v1::JobSpec unknown = Study("tensor_core {}");
  unknown.mutable_study()->mutable_tensor_core()->add_precisions(static_cast<v1::PrecisionSpec::Mode>(77));
  EXPECT_THAT(Faults(unknown), ElementsAre("study.tensor_core.precisions[0] UNKNOWN_VALUE"));
}

TEST(ValidateStudyTest, OtherListsAreKnownAndStandOnce) {
  ExpectStudyFaults("scaler_study", {{"presets: [TORCH, APEX]", ""}, {"presets: [APEX, APEX]", "presets[1] CONFLICT"}},
                    kTraining);
  ExpectStudyFaults("failure_modes", {{"modes: [SMALL_EPSILON, LOST_UPDATES] seed: 18446744073709551615", ""},
                                      {"modes: [SMALL_EPSILON, SMALL_EPSILON]", "modes[1] CONFLICT"},
                                      {"modes: MODE_UNSPECIFIED", "modes[0] UNKNOWN_VALUE"}});
  ExpectStudyFaults("format_table", {{"formats: [INT8, FP64]", ""}, {"formats: [INT8, INT8]", "formats[1] CONFLICT"}});
}

TEST(ValidateStudyTest, SeedsAndWarmUpOfAComparison) {
  ExpectStudyFaults("precision_comparison",
                    {{"seeds: 1", ""},
                     {"seeds: 100", ""},
                     {"seeds: 0", "seeds OUT_OF_RANGE"},
                     {"seeds: 101", "seeds OUT_OF_RANGE"},
                     {"warm_up_iterations: 0", ""},
                     {"warm_up_iterations: 19", ""},
                     {"warm_up_iterations: 20", "warm_up_iterations CONFLICT"},
                     {"warm_up_iterations: -1", "warm_up_iterations OUT_OF_RANGE"},
                     {"warm_up_iterations: 1000001", "warm_up_iterations OUT_OF_RANGE"}},
                    kTraining);
  EXPECT_THAT(Faults(Training("precision_comparison", "seeds: 2", "seed: 18446744073709551614")), IsEmpty());
  EXPECT_THAT(Faults(Training("precision_comparison", "seeds: 2", "seed: 18446744073709551615")),
              ElementsAre("study.precision_comparison.training.seed OUT_OF_RANGE"));
}

TEST(ValidateStudyTest, WhatTheFormatTableRounds) {
  ExpectStudyFaults("format_table", {{"values: [nan, inf, -inf, 0]", ""},
                                     {"iterations: 10000", ""},
                                     {"iterations: 10001", "iterations OUT_OF_RANGE"},
                                     {"iterations: -1", "iterations OUT_OF_RANGE"},
                                     {"loss_scale: 16777216", ""},
                                     {"loss_scale: 0.5", ""},
                                     {"loss_scale: 33554432", "loss_scale OUT_OF_RANGE"},
                                     {"loss_scale: 3", "loss_scale OUT_OF_RANGE"},
                                     {"loss_scale: 0", "loss_scale OUT_OF_RANGE"},
                                     {"loss_scale: -2", "loss_scale OUT_OF_RANGE"},
                                     {"loss_scale: nan", "loss_scale OUT_OF_RANGE"},
                                     {"loss_scale: inf", "loss_scale OUT_OF_RANGE"}});
  v1::JobSpec many = Study("format_table {}");
  for (int i = 0; i < 1000; ++i) many.mutable_study()->mutable_format_table()->add_values(i);
  EXPECT_THAT(Faults(many), IsEmpty());
  many.mutable_study()->mutable_format_table()->add_values(1);
  EXPECT_THAT(Faults(many), ElementsAre("study.format_table.values OUT_OF_RANGE"));
}

TEST(ValidateStudyTest, TheFormatTablesTrainingIsAsLongAsItSays) {
  EXPECT_THAT(Faults(Training("format_table", "iterations: 20")), IsEmpty());
  EXPECT_THAT(Faults(Training("format_table", "iterations: 21")),
              ElementsAre("study.format_table.training.iterations CONFLICT"));
  EXPECT_THAT(Faults(Training("format_table", "", "epochs: 1")),
              ElementsAre("study.format_table.training.epochs CONFLICT"));
  EXPECT_THAT(Faults(Training("format_table", "iterations: 0")), ElementsAre("study.format_table.training CONFLICT"));
  EXPECT_THAT(Faults(Study("format_table { iterations: 0 }")), IsEmpty());
  EXPECT_THAT(Faults(Training("format_table", "iterations: 20", "precision { mode: BF16 }")),
              ElementsAre("study.format_table.training.precision CONFLICT"));
}

TEST(ValidateStudyTest, SamplesAndScalesOfGradients) {
  ExpectStudyFaults("gradient_analysis",
                    {{"every_iterations: 1", ""},
                     {"every_iterations: 20", ""},
                     {"every_iterations: 21", "every_iterations CONFLICT"},
                     {"every_iterations: 0", "every_iterations OUT_OF_RANGE"},
                     {"every_iterations: 1000001", "every_iterations OUT_OF_RANGE"},
                     {"min_exponent: 3 max_exponent: 4", ""},
                     {"min_exponent: 4 max_exponent: 4", "min_exponent CONFLICT"},
                     {"min_exponent: 24", "min_exponent CONFLICT"},
                     {"min_exponent: -1", "min_exponent OUT_OF_RANGE"},
                     {"max_exponent: 25", "max_exponent OUT_OF_RANGE"},
                     {"check: false", ""}},
                    kTraining);
}

TEST(ValidateStudyTest, ShapesAndRoundsOfProducts) {
  for (const char* study : {"layout_benchmark", "tensor_core"}) {
    ExpectStudyFaults(study, {{"shapes { m: 1 n: 65536 k: 7 }", ""},
                              {"shapes { m: 0 n: 1 k: 1 }", "shapes[0].m OUT_OF_RANGE"},
                              {"shapes { m: 1 n: -1 k: 1 }", "shapes[0].n OUT_OF_RANGE"},
                              {"shapes { m: 1 n: 1 k: 65537 }", "shapes[0].k OUT_OF_RANGE"},
                              {"shapes { m: 1 n: 2 k: 3 } shapes { m: 1 n: 3 k: 2 }", ""},
                              {"shapes { m: 1 n: 2 k: 3 } shapes { m: 1 n: 2 k: 3 }", "shapes[1] CONFLICT"},
                              {"rounds: 3", ""},
                              {"rounds: 10000", ""},
                              {"rounds: 2", "rounds OUT_OF_RANGE"},
                              {"rounds: 10001", "rounds OUT_OF_RANGE"}});
  }
  v1::JobSpec many = Study("tensor_core {}");
  for (int i = 1; i <= 101; ++i) {
    v1::MatrixShape& shape = *many.mutable_study()->mutable_tensor_core()->add_shapes();
    shape.set_m(i), shape.set_n(1), shape.set_k(1);
  }
  EXPECT_THAT(Faults(many), ElementsAre("study.tensor_core.shapes OUT_OF_RANGE"));
}

TEST(ValidateStudyTest, TheMemoryToPlanFor) {
  ExpectStudyFaults("memory_plan",
                    {{"device_memory_bytes: 1125899906842624", ""},
                     {"device_memory_bytes: 1125899906842625", "device_memory_bytes OUT_OF_RANGE"},
                     {"device_memory_bytes: -1", "device_memory_bytes OUT_OF_RANGE"}},
                    kTraining);
}

TEST(ValidateStudyTest, AllFaultsAreSaidAtOnce) {
  const v1::JobSpec spec = SpecFrom(
      "priority: 5000 study { precision_comparison { training { model { mlp { hidden: 0 } } data { train { synthetic "
      "{} } "
      "} init_from { path: 'a' } } precisions: [FP16, FP16] seeds: 0 warm_up_iterations: -1 } }");
  EXPECT_THAT(
      Faults(spec),
      ElementsAre("priority OUT_OF_RANGE", "study.precision_comparison.training.init_from CONFLICT",
                  "study.precision_comparison.training.model.mlp.hidden[0] OUT_OF_RANGE",
                  "study.precision_comparison.precisions[1] CONFLICT", "study.precision_comparison.seeds OUT_OF_RANGE",
                  "study.precision_comparison.warm_up_iterations OUT_OF_RANGE"));
}

TEST(ValidateStudyTest, WhatTheResourcesAskForHolds) {
  v1::JobSpec spec = Study("tensor_core {}");
  spec.mutable_resources()->set_cpu_threads(2000);
  EXPECT_THAT(Faults(spec), ElementsAre("resources.cpu_threads OUT_OF_RANGE"));
}

// Every study as short as it can be, resolved.
std::vector<v1::JobSpec> Resolved() {
  std::vector<v1::JobSpec> specs;
  for (const std::string& study : kTrain) specs.push_back(ResolveDefaults(Training(study)));
  for (const char* study : {"format_table", "layout_benchmark", "tensor_core", "failure_modes"}) {
    specs.push_back(ResolveDefaults(Study(absl::StrCat(study, " {}"))));
  }
  return specs;
}

TEST(StudyDefaultsTest, ResolvingTwiceChangesNothingAndWhatIsResolvedIsGood) {
  for (const v1::JobSpec& spec : Resolved()) {
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(ResolveDefaults(spec), spec)) << spec.name();
    EXPECT_THAT(Faults(spec), IsEmpty()) << spec.name();
  }
}

TEST(StudyDefaultsTest, AJobIsNamedAfterItsStudy) {
  for (const v1::JobSpec& spec : Resolved()) EXPECT_EQ(spec.name(), StudyName(spec.study().kind_case()));
  EXPECT_EQ(ResolveDefaults(SpecFrom("name: 'mine' study { tensor_core {} }")).name(), "mine");
}

TEST(StudyDefaultsTest, WhatIsReadIsResolvedAndWhatIsNotIsLeftOut) {
  const v1::TrainingSpec comparison =
      ResolveDefaults(Training("precision_comparison")).study().precision_comparison().training();
  EXPECT_EQ(comparison.batch_size(), 64);
  EXPECT_TRUE(comparison.optimizer().has_adamw());
  EXPECT_EQ(comparison.precision().storage(), v1::PrecisionSpec::FP32_PARAMETERS);
  EXPECT_TRUE(comparison.precision().check_loss());
  EXPECT_EQ(comparison.precision().loss_scale().init(), 65536);
  EXPECT_EQ(comparison.precision().mode(), v1::PrecisionSpec::MODE_UNSPECIFIED);
  EXPECT_EQ(comparison.precision().on_failure(), v1::PrecisionSpec::ON_FAILURE_UNSPECIFIED);
  EXPECT_FALSE(comparison.has_checkpoint());
  EXPECT_FALSE(comparison.has_telemetry());
  EXPECT_EQ(comparison.execution().mode(), v1::ExecutionSpec::MODE_UNSPECIFIED);
  const v1::TrainingSpec scaler = ResolveDefaults(Training("scaler_study")).study().scaler_study().training();
  EXPECT_FALSE(scaler.precision().has_loss_scale());
  EXPECT_TRUE(scaler.precision().check_loss());
  EXPECT_FALSE(ResolveDefaults(Training("gradient_analysis")).study().gradient_analysis().training().has_precision());
  const v1::MemoryPlan plan = ResolveDefaults(Training("memory_plan")).study().memory_plan();
  EXPECT_EQ(plan.training().precision().storage(), v1::PrecisionSpec::STORAGE_UNSPECIFIED);
  EXPECT_EQ(ResolveDefaults(Training("memory_plan", "", "precision { storage: MASTER_FP32 }"))
                .study()
                .memory_plan()
                .training()
                .precision()
                .storage(),
            v1::PrecisionSpec::MASTER_FP32);
  EXPECT_TRUE(plan.precisions().empty()) << "they stand beside storages, which the trainer pairs them with";
}

TEST(StudyDefaultsTest, OfAComparisonAndOfGradients) {
  const v1::PrecisionComparison comparison =
      ResolveDefaults(Training("precision_comparison")).study().precision_comparison();
  EXPECT_EQ(comparison.seeds(), 3);
  EXPECT_EQ(comparison.warm_up_iterations(), 5);
  EXPECT_TRUE(comparison.precisions().empty()) << "TF32 is among them on a GPU";
  const v1::GradientAnalysis gradients = ResolveDefaults(Training("gradient_analysis")).study().gradient_analysis();
  EXPECT_EQ(gradients.every_iterations(), 5);
  EXPECT_EQ(gradients.min_exponent(), 0);
  EXPECT_EQ(gradients.max_exponent(), 24);
  EXPECT_TRUE(gradients.check());
}

TEST(StudyDefaultsTest, DefaultsSuitAShortRun) {
  const std::string three = "iterations: 3";
  EXPECT_EQ(
      ResolveDefaults(Training("precision_comparison", "", three)).study().precision_comparison().warm_up_iterations(),
      2);
  EXPECT_EQ(ResolveDefaults(Training("gradient_analysis", "", three)).study().gradient_analysis().every_iterations(),
            3);
  const std::string one = "iterations: 1";
  EXPECT_EQ(
      ResolveDefaults(Training("precision_comparison", "", one)).study().precision_comparison().warm_up_iterations(),
      0);
  EXPECT_THAT(Faults(Training("precision_comparison", "", one)), IsEmpty());
  EXPECT_THAT(Faults(Training("gradient_analysis", "", one)), IsEmpty());
}

TEST(StudyDefaultsTest, OfTheFormatTable) {
  const v1::FormatTable table = ResolveDefaults(Study("format_table {}")).study().format_table();
  EXPECT_EQ(table.formats_size(), 8);
  EXPECT_EQ(table.values_size(), 10);
  EXPECT_EQ(table.values(0), 1e-10);
  EXPECT_EQ(table.values(9), 1e10);
  EXPECT_EQ(table.iterations(), 10);
  EXPECT_EQ(table.loss_scale(), 65536);
  EXPECT_TRUE(table.training().model().has_transformer_encoder());
  EXPECT_TRUE(table.training().data().train().has_synthetic());
  EXPECT_EQ(table.training().iterations(), 10);
  const v1::FormatTable numbers = ResolveDefaults(Study("format_table { iterations: 0 }")).study().format_table();
  EXPECT_FALSE(numbers.has_training());
  EXPECT_FALSE(numbers.has_loss_scale());
}

TEST(StudyDefaultsTest, OfProductsAndLists) {
  const v1::LayoutBenchmark layouts = ResolveDefaults(Study("layout_benchmark {}")).study().layout_benchmark();
  EXPECT_THAT(layouts.precisions(),
              ElementsAre(v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16));
  EXPECT_EQ(layouts.rounds(), 30);
  EXPECT_TRUE(layouts.shapes().empty()) << "they are larger on a GPU";
  EXPECT_EQ(ResolveDefaults(Study("tensor_core {}")).study().tensor_core().rounds(), 30);
  EXPECT_EQ(ResolveDefaults(Study("failure_modes {}")).study().failure_modes().modes_size(), 7);
  EXPECT_EQ(ResolveDefaults(Training("scaler_study")).study().scaler_study().presets_size(), 5);
  EXPECT_EQ(ResolveDefaults(Training("scaler_study", "presets: APEX")).study().scaler_study().presets_size(), 1);
}

TEST(StudyReportTest, AStudyAndItsResultHaveOneName) {
  const google::protobuf::Descriptor& studies = *v1::StudySpec::descriptor();
  for (int i = 0; i < studies.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* result =
        v1::Report::descriptor()->FindFieldByName(studies.field(i)->name());
    ASSERT_NE(result, nullptr) << studies.field(i)->name();
    v1::Report report;
    report.GetReflection()->MutableMessage(&report, result);
    const auto kind = static_cast<v1::StudySpec::KindCase>(studies.field(i)->number());
    EXPECT_EQ(StudyOf(report), kind);
    EXPECT_EQ(StudyName(kind), studies.field(i)->name());
    EXPECT_EQ(ReportFault(kind, report), "");
  }
  EXPECT_EQ(StudyName(v1::StudySpec::KIND_NOT_SET), "study");
}

TEST(StudyReportTest, AReportIsOfItsStudyAndNotTooLarge) {
  v1::Report report;
  EXPECT_THAT(ReportFault(v1::StudySpec::kTensorCore, report), HasSubstr("no result of tensor_core"));
  report.mutable_format_table();
  EXPECT_THAT(ReportFault(v1::StudySpec::kTensorCore, report), HasSubstr("is one of format_table"));
  EXPECT_THAT(ReportFault(v1::StudySpec::KIND_NOT_SET, report), HasSubstr("no study"));
  const std::size_t rest = kMaxReportBytes - report.ByteSizeLong() - 4;  // tag and length of the text
  report.set_finding(std::string(rest, 'x'));
  ASSERT_EQ(report.ByteSizeLong(), kMaxReportBytes);
  EXPECT_EQ(ReportFault(v1::StudySpec::kFormatTable, report), "");
  report.mutable_finding()->push_back('x');
  EXPECT_THAT(ReportFault(v1::StudySpec::kFormatTable, report), HasSubstr("1048577 bytes"));
}

}  // namespace
}  // namespace mantissa::spec
