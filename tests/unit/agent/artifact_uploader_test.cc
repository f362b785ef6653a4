#include "worker/agent/forward/artifact_uploader.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <unistd.h>

#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using process::SteadyTime;

// SHA-256 of "abc", from FIPS 180-2.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

class ArtifactUploaderTest : public testing::Test {
 protected:
  ArtifactUploaderTest() : root_(Open(folder_)) {
    fs::create_directories(job_);
    std::ofstream(job_ / "abc.txt") << "abc";
    request_.mutable_ref()->CopyFrom(MakeRef());
    request_.mutable_artifact()->set_name("model.safetensors");
  }
  ~ArtifactUploaderTest() override { fs::remove_all(folder_); }

  static process::OpenRoot Open(const fs::path& folder) {
    fs::create_directories(folder);
    return *process::OpenRoot::Open({"checkpoints", folder.string(), true});
  }
  static ArtifactPlace At(const std::string& name) { return {"default", MakeRef().job_id() + "/" + name}; }
  void AwaitDone(ArtifactUploader& uploader) {
    while (uploader.busy()) {
      pollfd ready{inbox_.fd(), POLLIN, 0};
      ASSERT_EQ(::poll(&ready, 1, 20'000), 1);
      for (const Inbox::Action& action : inbox_.TakeAll()) action();
    }
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("upload-" + std::to_string(::getpid()));
  const fs::path job_ = folder_ / MakeRef().job_id();
  const process::OpenRoot root_;
  FakeServerLink link_;
  Inbox inbox_;
  v1::ArtifactRequest request_;
  SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(ArtifactUploaderTest, SendsTheFileWithItsHash) {
  ArtifactUploader uploader(root_, link_, inbox_);
  uploader.Want(request_, At("abc.txt"), "trace", now_);
  uploader.Want(request_, At("abc.txt"), "trace", now_);  // asked again while it is under way
  AwaitDone(uploader);
  ASSERT_EQ(link_.Uploads().size(), 1u);
  EXPECT_EQ(link_.Uploads()[0].bytes, "abc");
  EXPECT_EQ(link_.Uploads()[0].artifact.sha256(), kAbc);
  EXPECT_EQ(link_.Uploads()[0].artifact.size_bytes(), 3);
}

TEST_F(ArtifactUploaderTest, AFileOfManyChunksArrivesWhole) {
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes += std::to_string(i);
  std::ofstream(job_ / "large") << bytes;
  EXPECT_TRUE(UploadFile(root_, At("large"), MakeRef(), request_.artifact(), link_).ok());
  EXPECT_EQ(link_.Uploads()[0].bytes, bytes);
}

TEST_F(ArtifactUploaderTest, AFileThatIsNotWhatWasAnnouncedIsNotSent) {
  v1::Artifact artifact = request_.artifact();
  artifact.set_size_bytes(4);
  EXPECT_TRUE(absl::IsDataLoss(UploadFile(root_, At("abc.txt"), MakeRef(), artifact, link_)));
  artifact.set_size_bytes(3);
  artifact.set_sha256(std::string(64, '0'));
  EXPECT_TRUE(absl::IsDataLoss(UploadFile(root_, At("abc.txt"), MakeRef(), artifact, link_)));
  EXPECT_FALSE(UploadFile(root_, At("../abc.txt"), MakeRef(), request_.artifact(), link_).ok());
  EXPECT_FALSE(UploadFile(root_, At("missing"), MakeRef(), request_.artifact(), link_).ok());
  EXPECT_TRUE(link_.Uploads().empty());
}

// A trainer gone bad names another's checkpoint as its own result, and its tenant would download it.
TEST_F(ArtifactUploaderTest, OnlyFilesOfTheJobsOwnFolderAreSent) {
  fs::create_directories(folder_ / "victim");
  fs::create_directories(folder_ / "tenants/rival/victim");
  std::ofstream(folder_ / "victim/weights") << "secret";
  std::ofstream(folder_ / "tenants/rival/victim/weights") << "secret";
  fs::create_symlink("../victim/weights", job_ / "link");
  fs::create_directory_symlink("../victim", job_ / "folder");
  const std::string job = MakeRef().job_id();
  for (const std::string& path :
       {std::string("victim/weights"), job + "/../victim/weights", job + "/link", job + "/folder/weights", job,
        job + "/", std::string(), std::string("tenants/rival/victim/weights"), job + "//../victim/weights",
        "/" + job + "/abc.txt", (folder_ / "victim/weights").string(), job + "-2/weights"}) {
    EXPECT_FALSE(UploadFile(root_, {"default", path}, MakeRef(), request_.artifact(), link_).ok()) << path;
  }
  EXPECT_FALSE(UploadFile(root_, {"rival", job + "/abc.txt"}, MakeRef(), request_.artifact(), link_).ok());
  EXPECT_FALSE(UploadFile(root_, {"../x", job + "/abc.txt"}, MakeRef(), request_.artifact(), link_).ok());
  EXPECT_TRUE(link_.Uploads().empty());
}

TEST_F(ArtifactUploaderTest, ATenantsFilesLieInItsFolder) {
  const fs::path own = folder_ / "tenants/rival" / MakeRef().job_id();
  fs::create_directories(own);
  std::ofstream(own / "abc.txt") << "abc of a tenant";
  ArtifactPlace place = At("abc.txt");
  place.tenant = "rival";
  ASSERT_TRUE(UploadFile(root_, place, MakeRef(), request_.artifact(), link_).ok());
  EXPECT_EQ(link_.Uploads()[0].bytes, "abc of a tenant");
}

TEST_F(ArtifactUploaderTest, AFailedUploadIsTriedAgainAfterAPause) {
  ArtifactUploader uploader(root_, link_, inbox_);
  link_.FailUploads(absl::UnavailableError("away"));
  uploader.Want(request_, At("abc.txt"), "trace", now_);
  AwaitDone(uploader);
  EXPECT_EQ(uploader.failed(), 1);
  link_.FailUploads(absl::OkStatus());
  uploader.Want(request_, At("abc.txt"), "trace", now_);
  EXPECT_FALSE(uploader.busy());
  now_ += std::chrono::milliseconds(200);
  uploader.Want(request_, At("abc.txt"), "trace", now_);
  AwaitDone(uploader);
  EXPECT_EQ(uploader.uploaded(), 1);
}

}  // namespace
}  // namespace mantissa::agent
