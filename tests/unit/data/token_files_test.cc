#include "worker/data/token_files.h"

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/data/data_folder.h"
#include "worker/data/load_data.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kPlenty = std::int64_t{1} << 30;
constexpr std::int32_t kGpt2 = 20240520;
constexpr std::int32_t kLlama3 = 20240801;

std::string Little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

std::string Header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::string header;
  for (const std::int32_t number : {magic, version, count}) header += Little(static_cast<std::uint32_t>(number), 4);
  return header + std::string(1024 - header.size(), '\0');
}

std::string FileOf(std::int32_t magic, std::int32_t version, const std::vector<std::uint32_t>& tokens) {
  std::string bytes = Header(magic, version, static_cast<std::int32_t>(tokens.size()));
  for (const std::uint32_t token : tokens) bytes += Little(token, magic == kGpt2 ? 2 : 4);
  return bytes;
}

class TokenFilesTest : public ::testing::Test {
 protected:
  TokenFilesTest() {
    spec_.add_files("a.bin");
    spec_.set_vocabulary(50257);
  }

  absl::StatusOr<std::unique_ptr<Dataset>> Load(std::int64_t context = 2, std::int64_t max_bytes = kPlenty) {
    return LoadTokens(spec_, context, folder_.Open(), "training.data.train.tokens", max_bytes);
  }
  std::string Fault(const std::string& bytes, std::int64_t context = 2, std::int64_t max_bytes = kPlenty) {
    folder_.Write("a.bin", bytes);
    const auto data = Load(context, max_bytes);
    EXPECT_FALSE(data.ok());
    return std::string(data.status().message());
  }

  const DataFolder folder_;
  v1::Tokens spec_;
};

TEST_F(TokenFilesTest, TokensOfTwoBytesAreCutIntoSequencesWithTheirSuccessors) {
  folder_.Write("a.bin", FileOf(kGpt2, 1, {5, 50256, 7, 40000, 9, 10}));
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ((*data)->size(), 2);  // the sixth token is the last one's successor, if there were one more
  EXPECT_EQ((*data)->shape().context, 2);
  EXPECT_EQ((*data)->shape().sample.classes, 50257);
  Batch batch;
  (*data)->Gather(std::vector<std::int64_t>{1, 0}, batch);
  EXPECT_TRUE(at::equal(batch.input, at::tensor({7, 40000, 5, 50256}, at::kLong).view({2, 2})));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({40000, 9, 50256, 7}, at::kLong)));
}

TEST_F(TokenFilesTest, TokensOfFourBytesReachFurther) {
  spec_.set_vocabulary(128256);
  folder_.Write("a.bin", FileOf(kLlama3, 7, {128255, 1, 2}));
  const auto data = Load();
  ASSERT_TRUE(data.ok()) << data.status();
  Batch batch;
  (*data)->Gather(std::vector<std::int64_t>{0}, batch);
  EXPECT_EQ(batch.input[0][0].item<std::int64_t>(), 128255);
}

TEST_F(TokenFilesTest, FilesAreReadOneAfterAnother) {
  spec_.add_files("b.bin");
  folder_.Write("a.bin", FileOf(kGpt2, 1, {1, 2}));
  folder_.Write("b.bin", FileOf(kLlama3, 7, {3, 4, 5}));
  const auto data = Load(4);
  ASSERT_TRUE(data.ok()) << data.status();
  Batch batch;
  (*data)->Gather(std::vector<std::int64_t>{0}, batch);
  EXPECT_TRUE(at::equal(batch.target, at::tensor({2, 3, 4, 5}, at::kLong)));
}

TEST_F(TokenFilesTest, AFileThatIsCutIsRefusedWithWhatItAnnounces) {
  const std::string whole = FileOf(kGpt2, 1, {1, 2, 3});
  EXPECT_THAT(Fault(""), HasSubstr("cut off inside its header: 0 bytes of 1024"));
  EXPECT_THAT(Fault(whole.substr(0, 1023)), HasSubstr("cut off inside its header"));
  EXPECT_THAT(Fault(whole.substr(0, whole.size() - 1)),
              AllOf(StartsWith("training.data.train.tokens.files[0]: the file is truncated"),
                    HasSubstr("announces 3 tokens of 2 bytes and 5 bytes follow")));
  EXPECT_THAT(Fault(whole + "x"), HasSubstr("does not have its length"));
  EXPECT_THAT(Fault(Header(kGpt2, 1, -1)), HasSubstr("does not have its length"));
  EXPECT_THAT(Fault(Header(kLlama3, 7, 2147483647)), HasSubstr("truncated"));
}

TEST_F(TokenFilesTest, AnotherKindOfFileIsRefusedByItsMagic) {
  EXPECT_THAT(Fault(FileOf(kGpt2 + 1, 1, {1, 2, 3, 4, 5, 6})), HasSubstr("begins with 20240521"));
  EXPECT_THAT(Fault(FileOf(kGpt2, 2, {1, 2, 3})), HasSubstr("version 2; with magic 20240520 version 1 is read"));
  EXPECT_THAT(Fault(FileOf(kLlama3, 1, {1, 2, 3})), HasSubstr("version 7 is read"));
  EXPECT_THAT(Fault(std::string(4096, 'a')), HasSubstr("llm.c"));
}

TEST_F(TokenFilesTest, ATokenBeyondTheVocabularyIsNamedWithItsPlace) {
  spec_.set_vocabulary(100);
  EXPECT_THAT(Fault(FileOf(kGpt2, 1, {1, 2, 100, 3})),
              AllOf(StartsWith("training.data.train.tokens.files[0]: token 2 is 100"), HasSubstr("0 to 99")));
  // Not negative when it is read as signed.
  EXPECT_THAT(Fault(FileOf(kLlama3, 7, {1, 4294967295, 3})), HasSubstr("token 1 is 4294967295"));
}

TEST_F(TokenFilesTest, FewerTokensThanOneSequenceTakesAreRefused) {
  EXPECT_THAT(Fault(FileOf(kGpt2, 1, {1, 2, 3}), 3),
              AllOf(StartsWith("training.data.train.tokens.files: hold 3 tokens"), HasSubstr("takes 4")));
  EXPECT_THAT(Fault(FileOf(kGpt2, 1, {})), HasSubstr("hold 0 tokens"));
}

TEST_F(TokenFilesTest, MoreThanFitsInMemoryIsRefusedBeforeItIsRead) {
  const std::string bytes = FileOf(kGpt2, 1, {1, 2, 3});
  EXPECT_THAT(Fault(bytes, 2, 1000), HasSubstr("of memory"));
  // The file fits and its tokens, which take four bytes each, do not.
  EXPECT_THAT(Fault(bytes, 2, static_cast<std::int64_t>(bytes.size())), HasSubstr("of memory"));
}

TEST_F(TokenFilesTest, TrainingDataIsLoadedForAnyModelOfTokens) {
  folder_.Write("a.bin", FileOf(kGpt2, 1, {1, 2, 3, 4, 5}));
  v1::TrainingSpec training;
  *training.mutable_data()->mutable_train()->mutable_tokens() = spec_;
  v1::Layer::Embedding& embedding = *training.mutable_model()->mutable_sequential()->add_layers()->mutable_embedding();
  embedding.set_context(4);
  const auto layers = LoadTrainingData(training, folder_.Open(), kPlenty);
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_EQ(layers->train->shape().context, 4);
  training.mutable_model()->mutable_gpt()->set_context(3);
  const auto gpt = LoadTrainingData(training, folder_.Open(), kPlenty);
  ASSERT_TRUE(gpt.ok()) << gpt.status();
  EXPECT_EQ(gpt->train->shape().context, 3);
}

}  // namespace
}  // namespace mantissa::trainer
