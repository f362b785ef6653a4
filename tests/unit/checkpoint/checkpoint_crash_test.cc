// A writer that dies at every point of a save, in a process of its own: this same program, told by the environment what
// to write and where to die.
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/checkpoint/checkpoint_folder.h"
#include "worker/checkpoint/checkpoint_path.h"

namespace mantissa::trainer {
namespace {

constexpr char kFolderVariable[] = "MANTISSA_TEST_CHECKPOINT_FOLDER";

// Runs the writer; true when it died of SIGKILL, false when it saved and ended.
bool DiesAt(const std::string& failpoint, const std::filesystem::path& folder) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(kFolderVariable, folder.c_str(), 1);
    ::setenv("MANTISSA_FAILPOINTS", failpoint.c_str(), 1);
    ::execl("/proc/self/exe", "checkpoint_test", "--gtest_filter=*DISABLED_SavesTheSecondGeneration",
            "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    ::_exit(99);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL;
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return false;
}

TEST(CheckpointWriterProcess, DISABLED_SavesTheSecondGeneration) {
  const char* folder = std::getenv(kFolderVariable);
  if (folder == nullptr) GTEST_SKIP();
  const process::OpenRoot root = OpenCheckpointRoot(folder);
  std::vector<std::string> storage;
  EXPECT_TRUE(CheckpointStore(root, kJob).Save(FactsAt(2, 2), FilesOf('k', storage)).ok());
}

TEST(CheckpointCrashTest, AGenerationIsWholeOrAbsentWhereverTheWriterDies) {
#ifndef MANTISSA_FAILPOINTS
  GTEST_SKIP() << "NOT TESTED: crashes in the middle of a save, because this build has no failpoints";
#endif
  int deaths = 0;
  int absences = 0;
  for (const std::string name : {"checkpoint.write", "checkpoint.fsync", "checkpoint.before_rename",
                                 "checkpoint.sync_folder", "checkpoint.before_manifest"}) {
    for (int hit = 1;; ++hit) {
      ASSERT_LT(hit, 50);
      CheckpointFolder folder;
      std::vector<std::string> storage;
      const auto first = folder.Store().Save(FactsAt(1, 1), FilesOf('a', storage));
      ASSERT_TRUE(first.ok()) << first.status();
      if (!DiesAt(name + "=crash:" + std::to_string(hit), folder.path())) break;
      ++deaths;
      EXPECT_TRUE(folder.Store().Load(first->path, first->manifest_sha256).ok());
      const std::string second = GenerationPath(kJob, GenerationName(1, 2));
      const auto loaded = folder.Store().Load(second, "");
      absences += absl::IsNotFound(loaded.status()) ? 1 : 0;
      EXPECT_TRUE(loaded.ok() || absl::IsNotFound(loaded.status())) << name << hit << loaded.status();
      // What a dead writer left is no obstacle to the next.
      if (!loaded.ok()) {
        EXPECT_TRUE(folder.Store().Save(FactsAt(2, 2), FilesOf('k', storage)).ok());
      }
      EXPECT_TRUE(folder.Store().Load(second, "").ok());
    }
  }
  EXPECT_GE(deaths, 12);
  EXPECT_GE(absences, 10);
}

TEST(CheckpointCrashTest, AnErrorAtAnyPointLeavesNothingBehind) {
#ifndef MANTISSA_FAILPOINTS
  GTEST_SKIP() << "NOT TESTED: failing writes, because this build has no failpoints";
#endif
  for (const std::string name : {"checkpoint.write", "checkpoint.fsync", "checkpoint.sync_folder"}) {
    CheckpointFolder folder;
    const pid_t child = ::fork();
    if (child == 0) {
      ::setenv(kFolderVariable, folder.path().c_str(), 1);
      ::setenv("MANTISSA_FAILPOINTS", (name + "=error:2").c_str(), 1);
      ::execl("/proc/self/exe", "checkpoint_test", "--gtest_filter=*DISABLED_FailsToSave",
              "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
      ::_exit(99);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << name;
    EXPECT_FALSE(std::filesystem::exists(folder.path() / kJob / "attempt-0001/step-00000002")) << name;
  }
}

TEST(CheckpointWriterProcess, DISABLED_FailsToSave) {
  const char* folder = std::getenv(kFolderVariable);
  if (folder == nullptr) GTEST_SKIP();
  const process::OpenRoot root = OpenCheckpointRoot(folder);
  std::vector<std::string> storage;
  EXPECT_FALSE(CheckpointStore(root, kJob).Save(FactsAt(2, 2), FilesOf('k', storage)).ok());
}

}  // namespace
}  // namespace mantissa::trainer
