#include "absl/strings/str_cat.h"

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

v1::JobSpec Encoder(const std::string& fields) {
  return SpecFrom(
      absl::StrCat("training { model { transformer_encoder { ", fields, " } } data { train { synthetic {} } } }"));
}

v1::JobSpec Gpt(const std::string& fields) {
  return SpecFrom(absl::StrCat("training { model { gpt { ", fields, " } } data { train { text { files: 'a' } } } }"));
}

TEST(ValidateModelTest, Mlp) {
  const auto mlp = [](const std::string& fields) {
    return SpecFrom(absl::StrCat("training { model { mlp { ", fields, " } } data { train { synthetic {} } } }"));
  };
  std::string layers;
  for (int i = 0; i < 64; ++i) layers += "hidden: 8 ";
  EXPECT_THAT(Faults(mlp("")), IsEmpty());
  EXPECT_THAT(Faults(mlp(layers)), IsEmpty());
  EXPECT_THAT(Faults(mlp("hidden: 1048576 activation: GELU dropout: 0.99")), IsEmpty());
  EXPECT_THAT(Faults(mlp(layers + "hidden: 8")), ElementsAre("training.model.mlp.hidden OUT_OF_RANGE"));
  EXPECT_THAT(Faults(mlp("hidden: [8, 0, -1, 1048577]")),
              ElementsAre("training.model.mlp.hidden[1] OUT_OF_RANGE", "training.model.mlp.hidden[2] OUT_OF_RANGE",
                          "training.model.mlp.hidden[3] OUT_OF_RANGE"));
  for (const char* dropout : {"1", "-0.1", "nan", "inf"}) {
    EXPECT_THAT(Faults(mlp(absl::StrCat("dropout: ", dropout))), ElementsAre("training.model.mlp.dropout OUT_OF_RANGE"))
        << dropout;
  }
  v1::JobSpec unknown = mlp("");
  unknown.mutable_training()->mutable_model()->mutable_mlp()->set_activation(static_cast<v1::Activation::Function>(77));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.model.mlp.activation UNKNOWN_VALUE"));
}

TEST(ValidateModelTest, AListLongerThanAllowedIsNotReportedEntryByEntry) {
  std::string layers;
  for (int i = 0; i < 1000; ++i) layers += "hidden: 0 ";
  EXPECT_THAT(Faults(SpecFrom("training { model { mlp { " + layers + " } } data { train { synthetic {} } } }")).size(),
              65u);
}

TEST(ValidateModelTest, TransformerEncoder) {
  const std::string path = "training.model.transformer_encoder.";
  EXPECT_THAT(Faults(Encoder("")), IsEmpty());
  EXPECT_THAT(Faults(Encoder("layers: 256 d_model: 64 heads: 64 d_feed_forward: 1 activation: TANH dropout: 0.1")),
              IsEmpty());
  EXPECT_THAT(Faults(Encoder("layers: 0")), ElementsAre(path + "layers OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("layers: 257")), ElementsAre(path + "layers OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("layers: 2147483647")), ElementsAre(path + "layers OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("heads: 0")), ElementsAre(path + "heads OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("heads: 1025")), ElementsAre(path + "heads OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("d_model: 130")), ElementsAre(path + "d_model CONFLICT"));
  EXPECT_THAT(Faults(Encoder("d_model: 0 d_feed_forward: 8")), ElementsAre(path + "d_model OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("d_model: 65540 d_feed_forward: 8")), ElementsAre(path + "d_model OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("d_feed_forward: 0")), ElementsAre(path + "d_feed_forward OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("d_feed_forward: 1048577")), ElementsAre(path + "d_feed_forward OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Encoder("dropout: 1")), ElementsAre(path + "dropout OUT_OF_RANGE"));
  // Four times a width that is out of range leaves 32 bits.
  EXPECT_THAT(Faults(Encoder("d_model: 2147483644")),
              ElementsAre(path + "d_model OUT_OF_RANGE", path + "d_feed_forward OUT_OF_RANGE"));
}

TEST(ValidateModelTest, AWidthThatHeadsDoNotDivideComesWithOneThatTheyDo) {
  EXPECT_THAT(ValidateJobSpec(Encoder("d_model: 130 heads: 4"))[0].description, HasSubstr("such as 132"));
}

TEST(ValidateModelTest, Gpt) {
  const std::string path = "training.model.gpt.";
  EXPECT_THAT(Faults(Gpt("")), IsEmpty());
  EXPECT_THAT(Faults(Gpt("layers: 1 d_model: 4 heads: 1 context: 1 vocabulary: 256")), IsEmpty());
  EXPECT_THAT(Faults(Gpt("layers: -1")), ElementsAre(path + "layers OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Gpt("d_model: 127")), ElementsAre(path + "d_model CONFLICT"));
  EXPECT_THAT(Faults(Gpt("context: 0")), ElementsAre(path + "context OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Gpt("context: 1048577")), ElementsAre(path + "context OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Gpt("vocabulary: 16777217")), ElementsAre(path + "vocabulary OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Gpt("dropout: nan")), ElementsAre(path + "dropout OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Gpt("vocabulary: 255")), ElementsAre("training.data.train CONFLICT"));
}

}  // namespace
}  // namespace mantissa::spec
