#include "server/store/blob_files.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "temp_folder.h"

namespace mantissa::server {
namespace {

constexpr char kJob[] = "01hzzzzzzzzzzzzzzzzzzzzzzz";
// Of "hello".
constexpr char kHelloHash[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

class BlobFilesTest : public testing::Test {
 protected:
  BlobFilesTest() : files_(Open()) {}

  std::unique_ptr<BlobFiles> Open(BlobFilesOptions options = {}) {
    return BlobFiles::Open(folder_ / "blobs", options).value();
  }
  v1::Artifact Hello(const std::string& name = "model.safetensors") {
    v1::Artifact artifact;
    artifact.set_name(name);
    artifact.set_size_bytes(5);
    artifact.set_sha256(kHelloHash);
    return artifact;
  }
  size_t FilesIn(const std::string& folder) {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) count += entry.is_regular_file();
    return count;
  }

  TempFolder folder_;
  std::unique_ptr<BlobFiles> files_;
  const LogKey log_{kJob, 1, 0, v1::LogStream::STDERR};
};

TEST_F(BlobFilesTest, AnArtifactIsWholeOrAbsent) {
  auto writer = files_->WriteArtifact(kJob, 1, Hello()).value();
  ASSERT_TRUE(writer->Append("hel").ok());
  EXPECT_EQ(files_->ReadArtifact(kJob, 1, "model.safetensors").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(writer->Append("lo").ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_FALSE(writer->Finish().ok()) << "once";
  auto reader = files_->ReadArtifact(kJob, 1, "model.safetensors").value();
  EXPECT_EQ(reader->size(), 5);
  EXPECT_EQ(reader->Read(0, 100).value(), "hello");
  EXPECT_EQ(reader->Read(1, 3).value(), "ell");
  EXPECT_EQ(reader->Read(5, 3).value(), "");
  EXPECT_EQ(reader->Read(6, 3).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(reader->Read(-1, 3).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(files_->ReadArtifact(kJob, 2, "model.safetensors").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BlobFilesTest, AnArtifactThatIsNotWhatItSaidIsRefused) {
  {
    auto writer = files_->WriteArtifact(kJob, 1, Hello()).value();
    EXPECT_EQ(writer->Append("hello!").code(), absl::StatusCode::kInvalidArgument) << "too long";
    ASSERT_TRUE(writer->Append("hell").ok());
    EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kInvalidArgument) << "too short";
  }
  {
    auto writer = files_->WriteArtifact(kJob, 1, Hello()).value();
    ASSERT_TRUE(writer->Append("hallo").ok());
    EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kInvalidArgument) << "another hash";
  }
  EXPECT_EQ(FilesIn(folder_ / "blobs"), 0u) << "nothing is left behind";
}

TEST_F(BlobFilesTest, AnEmptyArtifactIsAnArtifact) {
  v1::Artifact empty;
  empty.set_name("empty");
  empty.set_sha256("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  ASSERT_TRUE(files_->WriteArtifact(kJob, 1, empty).value()->Finish().ok());
  EXPECT_EQ(files_->ReadArtifact(kJob, 1, "empty").value()->size(), 0);
}

TEST_F(BlobFilesTest, AnotherUploadReplacesTheFile) {
  for (int i = 0; i < 2; ++i) {
    auto writer = files_->WriteArtifact(kJob, 1, Hello("a/b/c.json")).value();
    ASSERT_TRUE(writer->Append("hello").ok());
    ASSERT_TRUE(writer->Finish().ok());
  }
  EXPECT_EQ(FilesIn(folder_ / "blobs"), 1u);
}

TEST_F(BlobFilesTest, UnfinishedUploadsAreSweptAtTheNextStart) {
  std::ofstream(folder_ / "blobs/incoming/left") << "half";
  Open();
  EXPECT_EQ(FilesIn(folder_ / "blobs"), 0u);
}

TEST_F(BlobFilesTest, NothingLeavesTheFolder) {
  for (const std::string& name : {std::string("../x"), std::string("/etc/passwd"), std::string("a/../../x"),
                                  std::string(""), std::string("a\0b", 3), std::string(256, 'a')}) {
    EXPECT_EQ(files_->WriteArtifact(kJob, 1, Hello(name)).status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(files_->ReadArtifact(kJob, 1, name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  for (const std::string& job : {std::string("../../x"), std::string(""), std::string(26, '/')}) {
    EXPECT_EQ(files_->WriteArtifact(job, 1, Hello()).status().code(), absl::StatusCode::kInvalidArgument) << job;
    EXPECT_EQ(files_->AppendLog({job, 1, 0, v1::LogStream::STDERR}, 0, "x").status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(files_->WriteArtifact(kJob, 0, Hello()).ok());
  EXPECT_FALSE(files_->LogSize({kJob, 1, -1, v1::LogStream::STDERR}).ok());
  EXPECT_FALSE(files_->LogSize({kJob, 1, 0, v1::LogStream::NAME_UNSPECIFIED}).ok());
}

TEST_F(BlobFilesTest, AnArtifactAboveTheLimitIsRefusedBeforeItComes) {
  BlobFilesOptions options;
  options.max_artifact_bytes = 4;
  EXPECT_EQ(Open(options)->WriteArtifact(kJob, 1, Hello()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(BlobFilesTest, LogsGrowByOffset) {
  EXPECT_EQ(files_->LogSize(log_).value(), 0);
  EXPECT_EQ(files_->ReadLog(log_, 0, 100)->data, "");
  EXPECT_EQ(files_->AppendLog(log_, 0, "hello ").value(), 6);
  EXPECT_EQ(files_->AppendLog(log_, 0, "hello ").value(), 6) << "the same once more";
  EXPECT_EQ(files_->AppendLog(log_, 3, "lo world").value(), 11) << "overlap is dropped";
  EXPECT_EQ(files_->AppendLog(log_, 12, "x").status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(files_->AppendLog(log_, -1, "x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(files_->ReadLog(log_, 0, 100)->data, "hello world");
  const LogChunk middle = files_->ReadLog(log_, 6, 3).value();
  EXPECT_EQ(middle.data, "wor");
  EXPECT_EQ(middle.offset, 6);
  EXPECT_EQ(middle.size, 11);
  EXPECT_EQ(files_->ReadLog(log_, 11, 10)->data, "");
  EXPECT_EQ(files_->LogSize({kJob, 1, 0, v1::LogStream::STDOUT}).value(), 0) << "streams are apart";
  EXPECT_EQ(Open()->LogSize(log_).value(), 11) << "and it is there after a restart";
}

TEST_F(BlobFilesTest, TheEndOfALogIsKeptAndTheRestIsCounted) {
  BlobFilesOptions options;
  options.max_log_bytes = 100;
  auto files = Open(options);
  std::string all;
  for (int i = 0; i < 100; ++i) {
    const std::string line = absl::StrCat("line ", i, "\n");
    ASSERT_TRUE(files->AppendLog(log_, static_cast<int64_t>(all.size()), line).ok());
    all += line;
  }
  const LogChunk kept = files->ReadLog(log_, 0, 1000).value();
  EXPECT_EQ(kept.size, static_cast<int64_t>(all.size()));
  EXPECT_GT(kept.dropped_bytes, 0);
  EXPECT_EQ(kept.offset, kept.dropped_bytes);
  EXPECT_GE(kept.data.size(), 50u);
  EXPECT_LE(kept.data.size(), 100u);
  EXPECT_EQ(kept.data, all.substr(kept.offset));
  EXPECT_EQ(files->LogSize(log_).value(), static_cast<int64_t>(all.size()));
}

TEST_F(BlobFilesTest, OneWriteBeyondTheQuotaKeepsItsEnd) {
  BlobFilesOptions options;
  options.max_log_bytes = 10;
  auto files = Open(options);
  EXPECT_EQ(files->AppendLog(log_, 0, "abcdefghijklmnopqrstuvwxyz").value(), 26);
  const LogChunk kept = files->ReadLog(log_, 0, 100).value();
  EXPECT_EQ(kept.data, std::string("abcdefghijklmnopqrstuvwxyz").substr(kept.offset));
  EXPECT_EQ(kept.offset + static_cast<int64_t>(kept.data.size()), 26);
}

}  // namespace
}  // namespace mantissa::server
