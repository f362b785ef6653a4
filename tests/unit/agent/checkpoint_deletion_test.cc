#include "worker/agent/forward/checkpoint_deletion.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;

class CheckpointDeletionTest : public testing::Test {
 protected:
  CheckpointDeletionTest() { fs::create_directories(root_); }
  ~CheckpointDeletionTest() override { fs::remove_all(folder_); }

  void Make(const std::string& checkpoint) {
    fs::create_directories(root_ / checkpoint);
    std::ofstream(root_ / checkpoint / "model.safetensors") << "tensors";
    std::ofstream(root_ / checkpoint / "MANIFEST.json") << "{}";
  }
  absl::Status Delete(const std::string& path) {
    const auto root = process::OpenRoot::Open({"checkpoints", root_.string(), true});
    return root.ok() ? DeleteCheckpoint(*root, path) : root.status();
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("deletion-" + std::to_string(::getpid()));
  const fs::path root_ = folder_ / "checkpoints";
};

TEST_F(CheckpointDeletionTest, RemovesTheOneNamedAndNoOther) {
  Make("job/attempt-0001/step-1");
  Make("job/attempt-0001/step-2");
  EXPECT_TRUE(Delete("job/attempt-0001/step-1").ok());
  EXPECT_FALSE(fs::exists(root_ / "job/attempt-0001/step-1"));
  EXPECT_TRUE(fs::exists(root_ / "job/attempt-0001/step-2/MANIFEST.json"));
  EXPECT_TRUE(Delete("job/attempt-0001/step-2").ok());
  EXPECT_FALSE(fs::exists(root_ / "job")) << "empty folders go as well";
  EXPECT_TRUE(fs::exists(root_));
}

TEST_F(CheckpointDeletionTest, IsHarmlessTwice) {
  Make("job/attempt-0001/step-1");
  EXPECT_TRUE(Delete("job/attempt-0001/step-1").ok());
  EXPECT_TRUE(Delete("job/attempt-0001/step-1").ok());
  EXPECT_TRUE(Delete("no/such").ok());
}

// A trainer gone bad writes in its job's folder only, but links lead on.
TEST_F(CheckpointDeletionTest, ALinkToAnotherJobsCheckpointDeletesNothing) {
  Make("victim/attempt-0001/step-1");
  Make("job/attempt-0001/step-1");
  fs::create_directory_symlink("../../victim/attempt-0001/step-1", root_ / "job/attempt-0001/step-2");
  fs::create_directory_symlink("../victim/attempt-0001", root_ / "job/attempt-0002");
  fs::create_directory_symlink("victim", root_ / "alias");
  for (const char* path : {"job/attempt-0001/step-2", "job/attempt-0002/step-1", "alias/attempt-0001/step-1"}) {
    EXPECT_FALSE(Delete(path).ok()) << path;
    EXPECT_TRUE(fs::exists(root_ / "victim/attempt-0001/step-1/MANIFEST.json")) << path;
  }
}

TEST_F(CheckpointDeletionTest, NeverLeavesTheRootNorTakesAWholeJob) {
  Make("job/attempt-0001/step-1");
  fs::create_directories(folder_ / "outside/folder");
  std::ofstream(folder_ / "outside/folder/precious") << "x";
  fs::create_directory_symlink(folder_ / "outside", root_ / "link");
  for (const char* path :
       {"../outside/folder", "/etc/x", "job", "", ".", "job/", "link/folder", "job/../../outside/folder"}) {
    Delete(path).IgnoreError();
    EXPECT_TRUE(fs::exists(root_ / "job/attempt-0001/step-1/MANIFEST.json")) << path;
    EXPECT_TRUE(fs::exists(folder_ / "outside/folder/precious")) << path;
  }
  EXPECT_FALSE(Delete("job").ok());
  EXPECT_FALSE(Delete("link/folder").ok());
}

}  // namespace
}  // namespace mantissa::agent
