// A full disk, and calls that fail, at every call of a save and of a deletion.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/checkpoint/checkpoint_folder.h"
#include "tests/unit/checkpoint/recorded_disk.h"
#include "worker/checkpoint/checkpoint_path.h"

namespace mantissa::trainer {
namespace {

// A job with one good generation, about to save its second.
class DiskFaultTest : public ::testing::Test {
 protected:
  struct Folder {
    CheckpointFolder folder;
    SavedCheckpoint first;

    Folder() : first(SaveAt(1).value()) {}
    absl::StatusOr<SavedCheckpoint> SaveAt(std::int64_t step) const {
      std::vector<std::string> storage;
      return folder.Store().Save(FactsAt(step, step), FilesOf('a', storage, 64));
    }
    bool FirstIsWhole() const { return folder.Store().Load(first.path, first.manifest_sha256).ok(); }
  };

  // Calls that a save makes when nothing fails.
  static std::size_t CallsOfASave() {
    const Folder job;
    const RecordedDisk disk(job.folder.path());
    EXPECT_TRUE(job.SaveAt(2).ok());
    return disk.count();
  }
};

TEST_F(DiskFaultTest, ADiskThatIsFullFromAnyCallOnCostsOneSaveAndNothingElse) {
  const std::size_t calls = CallsOfASave();
  int failures = 0;
  for (std::size_t number = 0; number < calls; ++number) {
    const Folder job;
    RecordedDisk disk(job.folder.path());
    disk.FillAt(number);
    const auto saved = job.SaveAt(2);
    if (!disk.failed()) continue;  // nothing was written after it
    ++failures;
    EXPECT_TRUE(absl::IsResourceExhausted(saved.status())) << number << saved.status();
    EXPECT_TRUE(job.FirstIsWhole()) << number;
    EXPECT_FALSE(std::filesystem::exists(job.folder.path() / kJob / GenerationName(1, 2))) << number;
    disk.Mend();
    const auto again = job.SaveAt(2);
    ASSERT_TRUE(again.ok()) << number << again.status();
    EXPECT_TRUE(job.folder.Store().Load(again->path, again->manifest_sha256).ok());
  }
  EXPECT_GE(failures, 10);
}

TEST_F(DiskFaultTest, AnyCallThatFailsFailsTheSaveAndLeavesNothing) {
  const std::size_t calls = CallsOfASave();
  for (std::size_t number = 0; number < calls; ++number) {
    for (const int error : {EIO, EDQUOT}) {
      const Folder job;
      RecordedDisk disk(job.folder.path());
      disk.FailAt(number, error);
      const auto saved = job.SaveAt(2);
      ASSERT_TRUE(disk.failed());
      // Closing what was only read from loses nothing.
      const bool of_folder =
          disk.failed()->kind == DiskCall::Kind::kClose && disk.failed()->path.find(".tmp") == std::string::npos;
      EXPECT_EQ(saved.ok(), of_folder) << number << " " << disk.failed()->path;
      EXPECT_TRUE(job.FirstIsWhole()) << number;
      if (saved.ok()) continue;
      EXPECT_EQ(absl::IsResourceExhausted(saved.status()), error == EDQUOT) << number << saved.status();
      EXPECT_FALSE(std::filesystem::exists(job.folder.path() / kJob / GenerationName(1, 2))) << number;
      const auto again = job.SaveAt(2);
      EXPECT_TRUE(again.ok()) << number << again.status();
    }
  }
}

TEST_F(DiskFaultTest, AFileWhoseSyncFailedIsNeverSyncedOrNamedAgain) {
  const std::size_t calls = CallsOfASave();
  int syncs = 0;
  for (std::size_t number = 0; number < calls; ++number) {
    const Folder job;
    RecordedDisk disk(job.folder.path());
    disk.FailAt(number, EIO);
    const bool saved = job.SaveAt(2).ok();
    const std::string path = disk.failed()->path;
    if (disk.failed()->kind != DiskCall::Kind::kSync || path.find(".tmp") == std::string::npos) continue;
    ++syncs;
    EXPECT_FALSE(saved);
    for (const DiskCall& call : disk.calls()) {
      if (call.path != path) continue;
      EXPECT_NE(call.kind, DiskCall::Kind::kSync) << path;
      EXPECT_NE(call.kind, DiskCall::Kind::kRename) << path;
    }
  }
  EXPECT_EQ(syncs, 3);  // two files and the manifest
}

TEST_F(DiskFaultTest, ADeletionThatFailsAnywhereLeavesAGenerationWholeOrAbsent) {
  for (std::size_t number = 0;; ++number) {
    const Folder job;
    RecordedDisk disk(job.folder.path());
    disk.FailAt(number, EIO);
    const absl::Status deleted = job.folder.Store().Delete(job.first.path);
    if (!disk.failed()) break;
    const absl::Status loaded = job.folder.Store().Load(job.first.path, job.first.manifest_sha256).status();
    EXPECT_TRUE(loaded.ok() || absl::IsNotFound(loaded)) << number << loaded;
    if (deleted.ok()) {
      EXPECT_TRUE(absl::IsNotFound(loaded)) << number;
    }
    EXPECT_TRUE(job.folder.Store().Delete(job.first.path).ok()) << number;
    EXPECT_FALSE(std::filesystem::exists(job.folder.path() / job.first.path)) << number;
  }
}

}  // namespace
}  // namespace mantissa::trainer
