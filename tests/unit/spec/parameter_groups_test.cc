#include "proto/spec/parameter_groups.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGpt =
    "training { model { gpt { layers: 12 d_model: 8 heads: 1 } } data { train { text { files: 'a' } } } ";

// What the groups make of a parameter of a small gpt with AdamW at 1e-3 and decay 0.01.
UpdateSettings UpdateOf(const std::string& path, const std::string& groups) {
  const v1::TrainingSpec training = ResolveDefaults(SpecFrom(kGpt + groups + "}")).training();
  const std::vector<Parameter> parameters = ModelParameters(training.model(), *SampleShapeOf(training));
  const std::vector<UpdateSettings> updates =
      ParameterUpdates(training.optimizer(), training.parameter_groups(), parameters);
  EXPECT_EQ(updates.size(), parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].path == path) return updates[i];
  }
  ADD_FAILURE() << path;
  return {};
}

constexpr char kProjection[] = "blocks.3.attention.proj.weight";
constexpr char kNormScale[] = "blocks.3.norm1.weight";

TEST(ParameterUpdatesTest, WithoutGroupsAreTheOptimizersAndNormsAndBiasesDoNotDecay) {
  EXPECT_EQ(UpdateOf(kProjection, ""), (UpdateSettings{1e-3, 0.01}));
  EXPECT_EQ(UpdateOf("token_embedding.weight", ""), (UpdateSettings{1e-3, 0.01}));
  EXPECT_EQ(UpdateOf(kNormScale, ""), (UpdateSettings{1e-3, 0}));
  EXPECT_EQ(UpdateOf("blocks.3.norm1.bias", ""), (UpdateSettings{1e-3, 0}));
  EXPECT_EQ(UpdateOf("blocks.3.attention.proj.bias", ""), (UpdateSettings{1e-3, 0}));
}

TEST(ParameterUpdatesTest, AGroupSetsWhatItNamesOfWhatItCovers) {
  const std::string rate = "parameter_groups { match: 'blocks.3' learning_rate: 1e-4 }";
  EXPECT_EQ(UpdateOf(kProjection, rate), (UpdateSettings{1e-4, 0.01}));
  EXPECT_EQ(UpdateOf(kNormScale, rate), (UpdateSettings{1e-4, 0}));
  EXPECT_EQ(UpdateOf("blocks.4.attention.proj.weight", rate), (UpdateSettings{1e-3, 0.01}));
  // An explicit decay is for everything that it covers.
  const std::string decay = "parameter_groups { match: 'blocks.3' weight_decay: 0.2 }";
  EXPECT_EQ(UpdateOf(kProjection, decay), (UpdateSettings{1e-3, 0.2}));
  EXPECT_EQ(UpdateOf(kNormScale, decay), (UpdateSettings{1e-3, 0.2}));
  const std::string zero = "parameter_groups { match: 'Embedding' learning_rate: 0 weight_decay: 0 }";
  EXPECT_EQ(UpdateOf("position_embedding.weight", zero), (UpdateSettings{0, 0}));
}

TEST(ParameterUpdatesTest, ALaterGroupOverridesAnEarlierOneFieldByField) {
  const std::string general = "parameter_groups { match: 'blocks' learning_rate: 1e-4 weight_decay: 0.2 } ";
  const std::string norms = "parameter_groups { match: 'Norm' weight_decay: 0 } ";
  EXPECT_EQ(UpdateOf(kNormScale, general + norms), (UpdateSettings{1e-4, 0}));
  EXPECT_EQ(UpdateOf(kProjection, general + norms), (UpdateSettings{1e-4, 0.2}));
  EXPECT_EQ(UpdateOf("norm.weight", general + norms), (UpdateSettings{1e-3, 0}));
  EXPECT_EQ(UpdateOf(kNormScale, norms + general), (UpdateSettings{1e-4, 0.2}));
}

TEST(ParameterUpdatesTest, EveryOptimizerHasItsOwnRateAndDecay) {
  EXPECT_EQ(UpdateOf(kProjection, "optimizer { adam { learning_rate: 2e-3 weight_decay: 0.5 } }"),
            (UpdateSettings{2e-3, 0.5}));
  EXPECT_EQ(UpdateOf(kProjection, "optimizer { sgd { weight_decay: 0.25 } }"), (UpdateSettings{1e-2, 0.25}));
}

// The one fault of a small gpt with these groups, as `path REASON description`; empty when there is none.
std::string FaultOf(const std::string& groups) {
  const std::vector<Violation> violations = ValidateJobSpec(SpecFrom(kGpt + groups + "}"));
  if (violations.empty()) return "";
  EXPECT_EQ(violations.size(), 1u) << groups;
  return absl::StrCat(violations[0].field_path, " ", std::string(ReasonName(violations[0].reason)), " ",
                      violations[0].description);
}

TEST(ValidateParameterGroupsTest, GoodOnesPass) {
  EXPECT_EQ(FaultOf("parameter_groups { match: 'blocks.*.attention' learning_rate: 0 }"), "");
  EXPECT_EQ(FaultOf("parameter_groups { match: 'Norm' weight_decay: 1000 learning_rate: 1000 }"), "");
  EXPECT_EQ(FaultOf("parameter_groups { match: '**' weight_decay: 0.1 } "
                    "parameter_groups { match: 'blocks.11.feed_forward.down.bias' weight_decay: 0 }"),
            "");
}

TEST(ValidateParameterGroupsTest, EachFieldIsChecked) {
  const std::string at = "training.parameter_groups[0]";
  EXPECT_THAT(FaultOf("parameter_groups { learning_rate: 1 }"), HasSubstr(at + ".match REQUIRED is missing"));
  EXPECT_THAT(FaultOf("parameter_groups { match: 'a..b' learning_rate: 1 }"),
              HasSubstr(at + ".match INVALID_FORMAT is \"a..b\"; it has an empty part"));
  EXPECT_THAT(FaultOf("parameter_groups { match: 'blocks' }"), HasSubstr(at + " REQUIRED changes nothing"));
  for (const std::string bad : {"-1e-9", "1001", "inf", "nan"}) {
    EXPECT_THAT(FaultOf("parameter_groups { match: 'blocks' learning_rate: " + bad + " }"),
                HasSubstr(at + ".learning_rate OUT_OF_RANGE"));
    EXPECT_THAT(FaultOf("parameter_groups { match: 'blocks' weight_decay: " + bad + " }"),
                HasSubstr(at + ".weight_decay OUT_OF_RANGE"));
  }
}

TEST(ValidateParameterGroupsTest, RatesThatNoRatioCanSayAreRefused) {
  EXPECT_EQ(
      FaultOf("optimizer { sgd { learning_rate: 1e-9 } } parameter_groups { match: 'blocks' learning_rate: 1e3 }"), "");
  for (const std::string tiny : {"1e-10", "1e-320"}) {
    EXPECT_THAT(FaultOf("optimizer { sgd { learning_rate: " + tiny +
                        " } } parameter_groups { match: 'blocks' learning_rate: 1000 }"),
                HasSubstr("training.parameter_groups[0].learning_rate CONFLICT"));
  }
}

TEST(ValidateParameterGroupsTest, AMatchThatCoversNothingIsRefusedWithTheNearest) {
  const auto nearest = [](const std::string& match, const std::string& name) {
    EXPECT_THAT(FaultOf("parameter_groups { match: '" + match + "' weight_decay: 0 }"),
                AllOf(HasSubstr("training.parameter_groups[0].match UNKNOWN_VALUE is \"" + match + "\""),
                      HasSubstr("covers no parameter of this model"), HasSubstr("the nearest is \"" + name + "\"")));
  };
  nearest("blocks.3.atention", "blocks.3.attention");
  nearest("blocks.12", "blocks.1");
  nearest("blocks.*.norm3", "blocks.*.norm1");
  nearest("bias", "Bias");
  nearest("LayerNorms", "LayerNorm");
  EXPECT_THAT(FaultOf("parameter_groups { match: 'something_else' weight_decay: 0 }"),
              HasSubstr("name a path such as head, or a type such as Weight"));
}

TEST(ValidateParameterGroupsTest, AGroupThatLaterOnesOverrideEverywhereIsRefused) {
  const std::string special = "parameter_groups { match: 'blocks.0.norm1' weight_decay: 0.5 } ";
  const std::string general = "parameter_groups { match: 'Norm' weight_decay: 0 } ";
  EXPECT_THAT(FaultOf(special + general),
              AllOf(HasSubstr("training.parameter_groups[0] CONFLICT"), HasSubstr("put what is general first")));
  EXPECT_EQ(FaultOf(general + special), "");
  // The same twice; but not where each sets another field.
  EXPECT_THAT(FaultOf(general + general), HasSubstr("training.parameter_groups[0] CONFLICT"));
  EXPECT_EQ(FaultOf(general + "parameter_groups { match: 'Norm' learning_rate: 1 }"), "");
}

TEST(ValidateParameterGroupsTest, ManyAreRefusedAtOnce) {
  std::string groups;
  for (int i = 0; i < 65; ++i) groups += "parameter_groups {} ";
  EXPECT_THAT(FaultOf(groups), HasSubstr("training.parameter_groups OUT_OF_RANGE has 65 groups; at most 64"));
}

TEST(ValidateParameterGroupsTest, WhatOnlyTheDataCanTellIsLeftToTheTrainer) {
  const std::string encoder =
      "training { model { transformer_encoder { d_model: 16 } } data { train { idx { images: 'a' labels: 'b' } } } ";
  const v1::JobSpec spec = SpecFrom(encoder + "parameter_groups { match: 'input' learning_rate: 0 } }");
  EXPECT_THAT(Faults(spec), testing::IsEmpty());
  EXPECT_THAT(Faults(SpecFrom(encoder + "parameter_groups { match: 'inputs' learning_rate: 0 } }")),
              ElementsAre("training.parameter_groups[0].match UNKNOWN_VALUE"));
  const v1::TrainingSpec training = ResolveDefaults(spec).training();
  const auto idle = [&](std::int64_t features) {
    return FindIdleGroups(training.parameter_groups(),
                          ModelParameters(training.model(), {.features = {28, features}, .classes = 10}));
  };
  EXPECT_THAT(idle(28), testing::IsEmpty());
  ASSERT_EQ(idle(16).size(), 1u);  // as wide as the model: there is no such layer
  EXPECT_EQ(idle(16)[0].field_path, "training.parameter_groups[0].match");
}

TEST(ValidateParameterGroupsTest, AWrongModelIsSaidOnceAndWithoutGuesses) {
  EXPECT_THAT(Faults(SpecFrom("training { model { gpt { layers: 0 } } data { train { text { files: 'a' } } } "
                              "parameter_groups { match: 'nowhere' learning_rate: 1 } }")),
              ElementsAre("training.model.gpt.layers OUT_OF_RANGE"));
}

}  // namespace
}  // namespace mantissa::spec
