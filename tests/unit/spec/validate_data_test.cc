#include "absl/strings/str_cat.h"

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kMlp[] = "mlp { hidden: 8 }";

std::vector<std::string> FaultsOf(const std::string& model, const std::string& train, const std::string& eval = "") {
  const std::string held_out = eval.empty() ? "" : absl::StrCat(" eval { ", eval, " }");
  return Faults(
      SpecFrom(absl::StrCat("training { model { ", model, " } data { train { ", train, " }", held_out, " } }")));
}

TEST(ValidateDataTest, ASourceIsRequired) {
  EXPECT_THAT(FaultsOf(kMlp, ""), ElementsAre("training.data.train REQUIRED"));
  EXPECT_THAT(Faults(MlpSpec("training { data { eval {} } }")), ElementsAre("training.data.eval REQUIRED"));
}

TEST(ValidateDataTest, Synthetic) {
  const std::string path = "training.data.train.synthetic.";
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { samples: 2147483647 shape: [1] classes: 2 }"), IsEmpty());
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { shape: [28, 28] }"), IsEmpty());
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { samples: 0 }"), ElementsAre(path + "samples OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { classes: 1 }"), ElementsAre(path + "classes OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { classes: 1048577 }"), ElementsAre(path + "classes OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { shape: [1, 2, 3] }"), ElementsAre(path + "shape OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { shape: [8, 0] }"), ElementsAre(path + "shape[1] OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { shape: [-1] }"), ElementsAre(path + "shape[0] OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { shape: [32768, 32768] }"), IsEmpty());
  EXPECT_THAT(FaultsOf(kMlp, "synthetic { shape: [32769, 32768] }"), ElementsAre(path + "shape OUT_OF_RANGE"));
}

TEST(ValidateDataTest, ASequenceModelNeedsASequence) {
  EXPECT_THAT(FaultsOf("transformer_encoder {}", "synthetic {}"), IsEmpty());
  EXPECT_THAT(FaultsOf("transformer_encoder {}", "synthetic { shape: [4, 16] }"), IsEmpty());
  EXPECT_THAT(FaultsOf("transformer_encoder {}", "synthetic { shape: [64] }"),
              ElementsAre("training.data.train.synthetic.shape CONFLICT"));
}

TEST(ValidateDataTest, ALanguageModelReadsTokensAndAClassifierDoesNot) {
  EXPECT_THAT(FaultsOf("gpt {}", "synthetic { classes: 50 }"), IsEmpty());
  EXPECT_THAT(FaultsOf("gpt {}", "synthetic { shape: [64] }"),
              ElementsAre("training.data.train.synthetic.shape CONFLICT"));
  EXPECT_THAT(FaultsOf("gpt {}", "idx { images: 'a' labels: 'b' }"), ElementsAre("training.data.train.idx CONFLICT"));
  EXPECT_THAT(FaultsOf(kMlp, "text { files: 'a' }"), ElementsAre("training.data.train.text CONFLICT"));
  EXPECT_THAT(FaultsOf("transformer_encoder {}", "text { files: 'a' }"),
              ElementsAre("training.data.train.text CONFLICT"));
}

TEST(ValidateDataTest, AVocabularyCoversItsData) {
  EXPECT_THAT(FaultsOf("gpt { vocabulary: 50 }", "synthetic { classes: 50 }"), IsEmpty());
  EXPECT_THAT(FaultsOf("gpt { vocabulary: 49 }", "synthetic { classes: 50 }"),
              ElementsAre("training.data.train CONFLICT"));
  EXPECT_THAT(FaultsOf("gpt { vocabulary: 300 }", "text { files: 'a' }"), IsEmpty());
}

TEST(ValidateDataTest, Idx) {
  const std::string path = "training.data.train.idx.";
  EXPECT_THAT(FaultsOf(kMlp, "idx { images: 'a' labels: 'shared:b' classes: 10 full_scale: 16 }"), IsEmpty());
  EXPECT_THAT(FaultsOf(kMlp, "idx {}"), ElementsAre(path + "images REQUIRED", path + "labels REQUIRED"));
  EXPECT_THAT(FaultsOf(kMlp, "idx { images: 'a' labels: 'a' }"), ElementsAre(path + "labels CONFLICT"));
  for (const char* classes : {"0", "1", "-1", "1048577"}) {
    EXPECT_THAT(FaultsOf(kMlp, absl::StrCat("idx { images: 'a' labels: 'b' classes: ", classes, " }")),
                ElementsAre(path + "classes OUT_OF_RANGE"));
  }
  for (const char* scale : {"0", "-1", "nan", "inf", "1e31"}) {
    EXPECT_THAT(FaultsOf(kMlp, absl::StrCat("idx { images: 'a' labels: 'b' full_scale: ", scale, " }")),
                ElementsAre(path + "full_scale OUT_OF_RANGE"));
  }
}

TEST(ValidateDataTest, PathsStayBeneathTheirRoot) {
  for (const char* bad :
       {"/etc/passwd", "../x", "a/../b", "data:/x", "Data:x", ":x", "a\\000b", "a\\nb", "file:///x"}) {
    EXPECT_THAT(FaultsOf(kMlp, absl::StrCat("idx { images: '", bad, "' labels: 'b' }")),
                ElementsAre("training.data.train.idx.images INVALID_FORMAT"))
        << bad;
    EXPECT_THAT(FaultsOf("gpt {}", absl::StrCat("text { files: ['a', '", bad, "'] }")),
                ElementsAre("training.data.train.text.files[1] INVALID_FORMAT"))
        << bad;
  }
}

TEST(ValidateDataTest, Text) {
  const std::string path = "training.data.train.text.files";
  std::string files;
  for (int i = 0; i < 1024; ++i) absl::StrAppend(&files, "files: 'f", i, "' ");
  EXPECT_THAT(FaultsOf("gpt {}", "text { " + files + " }"), IsEmpty());
  EXPECT_THAT(FaultsOf("gpt {}", "text { " + files + " files: 'x' }"), ElementsAre(path + " OUT_OF_RANGE"));
  EXPECT_THAT(FaultsOf("gpt {}", "text {}"), ElementsAre(path + " REQUIRED"));
  EXPECT_THAT(FaultsOf("gpt {}", "text { files: '' }"), ElementsAre(path + "[0] REQUIRED"));
}

TEST(ValidateDataTest, HeldOutDataSuitsTheTrainingData) {
  EXPECT_THAT(FaultsOf(kMlp, "synthetic {}", "synthetic { samples: 100 seed: 1 }"), IsEmpty());
  EXPECT_THAT(FaultsOf(kMlp, "synthetic {}", "idx { images: 'a' labels: 'b' }"),
              ElementsAre("training.data.eval CONFLICT"));
  EXPECT_THAT(
      FaultsOf(kMlp, "synthetic {}", "synthetic { shape: [8, 8] classes: 3 }"),
      ElementsAre("training.data.eval.synthetic.shape CONFLICT", "training.data.eval.synthetic.classes CONFLICT"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic {}", "synthetic { shape: [63] }"),
              ElementsAre("training.data.eval.synthetic.shape CONFLICT"));
  EXPECT_THAT(FaultsOf(kMlp, "synthetic {}", "synthetic { samples: -1 }"),
              ElementsAre("training.data.eval.synthetic.samples OUT_OF_RANGE"));
}

}  // namespace
}  // namespace mantissa::spec
