#include "worker/data/load_data.h"

#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/data/data_folder.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kPlenty = std::int64_t{1} << 30;

class LoadDataTest : public ::testing::Test {
 protected:
  LoadDataTest() {
    spec_.mutable_model()->mutable_mlp();
    v1::Idx& train = *spec_.mutable_data()->mutable_train()->mutable_idx();
    train.set_images("images.idx");
    train.set_labels("labels.idx");
    train.set_full_scale(16);
    folder_.Write("images.idx", IdxBytes({3, 2, 2}, std::string("\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x10", 12)));
    folder_.Write("labels.idx", IdxBytes({3}, std::string("\x00\x02\x01", 3)));
  }

  absl::StatusOr<TrainingData> Load(std::int64_t max_bytes = kPlenty) {
    return LoadTrainingData(spec_, folder_.Open(), max_bytes);
  }

  std::string Fault(std::int64_t max_bytes = kPlenty) {
    const auto data = Load(max_bytes);
    EXPECT_FALSE(data.ok());
    return std::string(data.status().message());
  }

  void EvaluateOn(const std::string& images, const std::string& labels) {
    v1::Idx& eval = *spec_.mutable_data()->mutable_eval()->mutable_idx();
    eval.set_images(images);
    eval.set_labels(labels);
    eval.set_full_scale(16);
  }

  void ReadText(const std::vector<std::string>& files, std::int32_t context) {
    spec_.mutable_model()->mutable_gpt()->set_context(context);
    auto& text = *spec_.mutable_data()->mutable_train()->mutable_text();
    for (const std::string& file : files) text.add_files(file);
  }

  DataFolder folder_;
  v1::TrainingSpec spec_;
};

TEST_F(LoadDataTest, ImagesBecomeScaledRowsInTheAskedOrder) {
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  const Dataset& train = *data->train;
  EXPECT_EQ(train.size(), 3);
  EXPECT_THAT(train.shape().sample.features, ElementsAre(2, 2));
  EXPECT_EQ(train.shape().sample.classes, 3);
  EXPECT_EQ(data->eval, nullptr);
  Batch batch;
  train.Gather(std::vector<std::int64_t>{2, 0}, batch);
  EXPECT_EQ(batch.targets, 2);
  EXPECT_TRUE(at::equal(batch.input, at::tensor({8, 9, 10, 16, 0, 1, 2, 3}, at::kFloat).view({2, 2, 2}) / 16));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({1, 0}, at::kLong)));
}

TEST_F(LoadDataTest, ABatchOfTheSameSizeIsWrittenInPlace) {
  const auto data = Load();
  ASSERT_TRUE(data.ok());
  Batch batch;
  data->train->Gather(std::vector<std::int64_t>{0, 1}, batch);
  const void* memory = batch.input.const_data_ptr();
  data->train->Gather(std::vector<std::int64_t>{1, 2}, batch);
  EXPECT_EQ(batch.input.const_data_ptr(), memory);
  data->train->Gather(std::vector<std::int64_t>{1}, batch);
  EXPECT_EQ(batch.input.size(0), 1);
}

TEST_F(LoadDataTest, AMissingFileIsNamed) {
  spec_.mutable_data()->mutable_train()->mutable_idx()->set_labels("nowhere.idx");
  EXPECT_THAT(Fault(), HasSubstr("training.data.train.idx.labels"));
  spec_.mutable_data()->mutable_train()->mutable_idx()->set_images("../images.idx");
  EXPECT_THAT(Fault(), HasSubstr("training.data.train.idx.images"));
}

TEST_F(LoadDataTest, AFolderIsNoFile) {
  spec_.mutable_data()->mutable_train()->mutable_idx()->set_images(".");
  EXPECT_THAT(Fault(), AllOf(HasSubstr("training.data.train.idx.images"), HasSubstr("folder")));
}

TEST_F(LoadDataTest, ATruncatedFileIsNamed) {
  folder_.Write("images.idx", IdxBytes({3, 2, 2}, "abc"));
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.train.idx.images: "), HasSubstr("truncated")));
}

TEST_F(LoadDataTest, CountsMustAgree) {
  folder_.Write("labels.idx", IdxBytes({2}, std::string("\x00\x01", 2)));
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.train.idx.labels: "), HasSubstr("2 labels for 3 samples")));
}

TEST_F(LoadDataTest, LabelsMustBeInRangeOfTheGivenClasses) {
  spec_.mutable_data()->mutable_train()->mutable_idx()->set_classes(2);
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.train.idx.labels: "), HasSubstr("label 2 of sample 1")));
}

TEST_F(LoadDataTest, EvaluationLabelsMustBeInRangeOfTheTrainingClasses) {
  folder_.Write("more.idx", IdxBytes({3}, std::string("\x00\x02\x03", 3)));
  EvaluateOn("images.idx", "more.idx");
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.eval.idx.labels: "), HasSubstr("label 3 of sample 2")));
}

TEST_F(LoadDataTest, EvaluationImagesMustHaveTheTrainingShape) {
  folder_.Write("wide.idx", IdxBytes({3, 4}, "abcdefghijkl"));
  EvaluateOn("wide.idx", "labels.idx");
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.eval: "), HasSubstr("samples of 4"), HasSubstr("2 x 2")));
}

TEST_F(LoadDataTest, EvaluationTakesTheTrainingClassesEvenIfItsOwnLabelsAreFewer) {
  folder_.Write("few.idx", IdxBytes({3}, std::string("\x00\x00\x01", 3)));
  EvaluateOn("images.idx", "few.idx");
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->eval->shape().sample.classes, 3);
}

TEST_F(LoadDataTest, DimensionsMustBeThoseOfImagesAndLabels) {
  folder_.Write("images.idx", IdxBytes({12}, "abcdefghijkl"));
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.train.idx.images: "), HasSubstr("1 dimensions")));
  folder_.Write("images.idx", IdxBytes({3, 4}, "abcdefghijkl"));
  folder_.Write("labels.idx", IdxBytes({3, 1}, "abc"));
  EXPECT_THAT(Fault(), StartsWith("training.data.train.idx.labels: "));
}

TEST_F(LoadDataTest, DataThatDoesNotFitIsRefusedBeforeItIsAllocated) {
  const auto data = Load(40);
  EXPECT_TRUE(absl::IsResourceExhausted(data.status()));
  EXPECT_THAT(std::string(data.status().message()), StartsWith("training.data.train.idx.images: "));
  spec_.mutable_data()->mutable_train()->mutable_synthetic()->set_samples(2147483647);
  spec_.mutable_data()->mutable_train()->mutable_synthetic()->add_shape(2147483647);
  spec_.mutable_data()->mutable_train()->mutable_synthetic()->add_shape(2147483647);
  spec_.mutable_data()->mutable_train()->mutable_synthetic()->set_classes(1048576);
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.train.synthetic.samples: "), HasSubstr("fewer samples")));
}

TEST_F(LoadDataTest, TextIsCutIntoSequencesWithTheirSuccessors) {
  folder_.Write("a.txt", "abcdefgh");
  ReadText({"a.txt"}, 3);
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train->size(), 2);
  EXPECT_EQ(data->train->shape().context, 3);
  EXPECT_EQ(data->train->shape().sample.classes, 256);
  Batch batch;
  data->train->Gather(std::vector<std::int64_t>{1, 0}, batch);
  EXPECT_EQ(batch.targets, 6);
  EXPECT_TRUE(at::equal(batch.input, at::tensor({'d', 'e', 'f', 'a', 'b', 'c'}, at::kLong).view({2, 3})));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({'e', 'f', 'g', 'b', 'c', 'd'}, at::kLong)));
}

TEST_F(LoadDataTest, BytesAboveAsciiAreTokensToo) {
  folder_.Write("a.txt", "\xff\x80");
  ReadText({"a.txt"}, 1);
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  Batch batch;
  data->train->Gather(std::vector<std::int64_t>{0}, batch);
  EXPECT_EQ(batch.input.item<std::int64_t>(), 255);
  EXPECT_EQ(batch.target.item<std::int64_t>(), 128);
}

TEST_F(LoadDataTest, AFolderGivesItsFilesInNameOrderWithoutHiddenOnes) {
  folder_.Write("texts/b", "cd");
  folder_.Write("texts/a", "ab");
  folder_.Write("texts/.hidden", "xx");
  folder_.Write("texts/deeper/c", "yy");
  folder_.Write("more", "e");
  for (const std::string name : {"texts", "texts/", "data:texts"}) {
    spec_.Clear();
    ReadText({name, "more"}, 4);
    const auto data = Load();
    ASSERT_TRUE(data.ok()) << data.status();
    Batch batch;
    data->train->Gather(std::vector<std::int64_t>{0}, batch);
    EXPECT_TRUE(at::equal(batch.input, at::tensor({'a', 'b', 'c', 'd'}, at::kLong).view({1, 4})));
    EXPECT_EQ(batch.target[3].item<std::int64_t>(), 'e');
  }
}

TEST_F(LoadDataTest, TextFaultsAreNamed) {
  folder_.Write("a.txt", "abc");
  std::filesystem::create_directories(folder_.path() / "none");
  ReadText({"a.txt"}, 3);
  EXPECT_THAT(Fault(), AllOf(StartsWith("training.data.train.text.files: "), HasSubstr("3 bytes")));
  spec_.Clear();
  ReadText({"a.txt", "nowhere"}, 1);
  EXPECT_THAT(Fault(), HasSubstr("training.data.train.text.files[1]"));
  spec_.Clear();
  ReadText({"none"}, 1);
  EXPECT_THAT(Fault(), AllOf(HasSubstr("training.data.train.text.files[0]"), HasSubstr("no files")));
}

class SyntheticTest : public LoadDataTest {
 protected:
  SyntheticTest() {
    spec_.mutable_data()->Clear();
    Give(*spec_.mutable_data()->mutable_train()->mutable_synthetic(), 1);
    Give(*spec_.mutable_data()->mutable_eval()->mutable_synthetic(), 2);
  }

  static void Give(v1::Synthetic& synthetic, std::uint64_t seed) {
    synthetic.set_samples(400);
    synthetic.add_shape(3);
    synthetic.add_shape(5);
    synthetic.set_classes(4);
    synthetic.set_seed(seed);
  }

  static Batch All(const Dataset& data) {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
    std::iota(indices.begin(), indices.end(), 0);
    Batch batch;
    data.Gather(indices, batch);
    return batch;
  }
};

TEST_F(SyntheticTest, EqualSeedsGiveEqualDataAndOthersOther) {
  const auto a = Load();
  const auto b = Load();
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_TRUE(at::equal(All(*a->train).input, All(*b->train).input));
  EXPECT_TRUE(at::equal(All(*a->train).target, All(*b->train).target));
  EXPECT_FALSE(at::equal(All(*a->train).input, All(*a->eval).input));
}

TEST_F(SyntheticTest, EveryClassOccurs) {
  const auto data = Load();
  ASSERT_TRUE(data.ok());
  const at::Tensor counts = All(*data->train).target.bincount({}, 4);
  EXPECT_GT(counts.min().item<std::int64_t>(), 20);
}

TEST_F(SyntheticTest, BothSeedsPoseTheSameTask) {
  // A linear fit of the labels on one set explains the other far better than chance.
  const auto data = Load();
  ASSERT_TRUE(data.ok());
  const Batch train = All(*data->train);
  const Batch eval = All(*data->eval);
  const at::Tensor x = train.input.view({400, 15});
  const at::Tensor means = at::one_hot(train.target, 4).to(at::kFloat).t().matmul(x) / 100;
  const at::Tensor guess = eval.input.view({400, 15}).matmul(means.t()).argmax(1);
  EXPECT_GT(guess.eq(eval.target).sum().item<std::int64_t>(), 220);
}

TEST_F(SyntheticTest, TokensFollowOneChainWhateverTheSeed) {
  spec_.mutable_model()->mutable_gpt()->set_context(16);
  spec_.mutable_data()->mutable_train()->mutable_synthetic()->set_classes(50);
  spec_.mutable_data()->mutable_eval()->mutable_synthetic()->set_classes(50);
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train->size(), 400);
  EXPECT_THAT(data->train->shape().sample.features, ElementsAre());
  std::vector<std::set<std::int64_t>> successors(50);
  for (const Dataset* set : {data->train.get(), data->eval.get()}) {
    const Batch batch = All(*set);
    const at::Tensor input = batch.input.view({-1});
    ASSERT_EQ(batch.target.size(0), 400 * 16);
    for (std::int64_t i = 0; i < input.size(0); ++i) {
      successors[static_cast<std::size_t>(input[i].item<std::int64_t>())].insert(batch.target[i].item<std::int64_t>());
    }
    // The targets are the inputs, one later.
    EXPECT_TRUE(at::equal(batch.input.slice(1, 1), batch.target.view({400, 16}).slice(1, 0, 15)));
  }
  for (const auto& next : successors) EXPECT_LE(next.size(), 4u);
}

}  // namespace
}  // namespace mantissa::trainer
