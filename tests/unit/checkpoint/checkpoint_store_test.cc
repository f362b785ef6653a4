#include "worker/checkpoint/checkpoint_store.h"

#include <algorithm>
#include <random>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/checkpoint/checkpoint_folder.h"
#include "worker/checkpoint/checkpoint_path.h"
#include "worker/checkpoint/durable_file.h"
#include "worker/checkpoint/sha256.h"

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;

class CheckpointStoreTest : public ::testing::Test {
 protected:
  SavedCheckpoint Save(std::int64_t step, std::int64_t iteration, char seed = 'a') {
    std::vector<std::string> storage;
    auto saved = folder_.Store().Save(FactsAt(step, iteration), FilesOf(seed, storage));
    EXPECT_TRUE(saved.ok()) << saved.status();
    return *std::move(saved);
  }

  CheckpointFolder folder_;
};

TEST_F(CheckpointStoreTest, WhatIsSavedIsLoaded) {
  const SavedCheckpoint saved = Save(200, 203, 'x');
  EXPECT_EQ(saved.name, "attempt-0001/step-00000200");
  EXPECT_EQ(saved.path, std::string(kJob) + "/attempt-0001/step-00000200");
  const auto loaded = folder_.Store().Load(saved.path, saved.manifest_sha256);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->manifest, saved.manifest);
  EXPECT_EQ(loaded->manifest.iteration, 203);
  ASSERT_EQ(loaded->files.size(), 2u);
  EXPECT_EQ(loaded->files.at("model.safetensors")->tensors.Find("w")->bytes, std::string(16, 'x'));
  EXPECT_EQ(loaded->files.at("optimizer.safetensors")->tensors.Find("m.w")->bytes, std::string(16, 'y'));
}

TEST_F(CheckpointStoreTest, SizesAndHashesAreThoseOfTheFiles) {
  const SavedCheckpoint saved = Save(1, 1);
  std::int64_t size = 0;
  for (const ManifestFile& file : saved.manifest.files) {
    const std::string bytes = folder_.Read(saved.path + "/" + file.name);
    EXPECT_EQ(file.sha256, Sha256Hex(bytes));
    EXPECT_EQ(file.size_bytes, static_cast<std::int64_t>(bytes.size()));
    size += file.size_bytes;
  }
  const std::string manifest = folder_.Read(saved.path + "/MANIFEST.json");
  EXPECT_EQ(saved.manifest_sha256, Sha256Hex(manifest));
  EXPECT_EQ(saved.size_bytes, size + static_cast<std::int64_t>(manifest.size()));
}

TEST_F(CheckpointStoreTest, TheSameStepAgainNeverTouchesWhatIsThere) {
  const SavedCheckpoint first = Save(5, 5, 'a');
  const SavedCheckpoint second = Save(5, 9, 'c');
  EXPECT_EQ(second.name, "attempt-0001/step-00000005-iteration-00000009");
  EXPECT_TRUE(folder_.Store().Load(first.path, first.manifest_sha256).ok());
  EXPECT_TRUE(folder_.Store().Load(second.path, second.manifest_sha256).ok());
  std::vector<std::string> storage;
  EXPECT_TRUE(absl::IsAlreadyExists(folder_.Store().Save(FactsAt(5, 9), FilesOf('e', storage)).status()));
}

TEST_F(CheckpointStoreTest, NoTemporaryFileIsLeft) {
  const SavedCheckpoint saved = Save(1, 1);
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path() / saved.path)) {
    EXPECT_THAT(entry.path().filename().string(), ::testing::Not(HasSubstr("tmp")));
  }
}

TEST_F(CheckpointStoreTest, EveryTruncationOfEveryFileIsNoticed) {
  const SavedCheckpoint saved = Save(1, 1);
  for (const std::string name : {"model.safetensors", "optimizer.safetensors", "MANIFEST.json"}) {
    const std::string path = saved.path + "/" + name;
    const std::string whole = folder_.Read(path);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      folder_.Write(path, whole.substr(0, size));
      EXPECT_FALSE(folder_.Store().Load(saved.path, saved.manifest_sha256).ok()) << name << " " << size;
    }
    folder_.Write(path, whole);
  }
  EXPECT_TRUE(folder_.Store().Load(saved.path, saved.manifest_sha256).ok());
}

TEST_F(CheckpointStoreTest, EveryBitFlipOfEveryFileIsNoticed) {
  const SavedCheckpoint saved = Save(1, 1);
  for (const std::string name : {"model.safetensors", "optimizer.safetensors", "MANIFEST.json"}) {
    const std::string path = saved.path + "/" + name;
    const std::string whole = folder_.Read(path);
    for (std::size_t byte = 0; byte < whole.size(); ++byte) {
      std::string flipped = whole;
      flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << (byte % 8)));
      folder_.Write(path, flipped);
      EXPECT_FALSE(folder_.Store().Load(saved.path, saved.manifest_sha256).ok()) << name << " " << byte;
    }
    folder_.Write(path, whole);
  }
}

// A generation of the size that real ones have in 4 KiB blocks, without the word of the server that hashes the
// manifest.
TEST_F(CheckpointStoreTest, AThousandFlippedBitsAndEveryLostBlockAreNoticedByTheManifestAlone) {
  constexpr unsigned kSeed = 8;
  constexpr std::size_t kBlock = 4096;
  std::vector<std::string> storage;
  const auto saved = folder_.Store().Save(FactsAt(1, 1), FilesOf('a', storage, 16 * kBlock));
  ASSERT_TRUE(saved.ok()) << saved.status();
  const auto is_damage = [&] { return absl::IsDataLoss(folder_.Store().Load(saved->path, "").status()); };
  std::mt19937 random(kSeed);
  for (const std::string name : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string path = saved->path + "/" + name;
    const std::string whole = folder_.Read(path);
    for (int flip = 0; flip < 500; ++flip) {
      std::string flipped = whole;
      const std::size_t bit = random() % (whole.size() * 8);
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      folder_.Write(path, flipped);
      ASSERT_TRUE(is_damage()) << name << " bit " << bit << ", seed " << kSeed;
    }
    for (std::size_t begin = 0; begin < whole.size(); begin += kBlock) {
      folder_.Write(path, whole.substr(0, begin));
      EXPECT_TRUE(is_damage()) << name << " cut at " << begin;
      std::string zeroed = whole;
      std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(begin), std::min(kBlock, whole.size() - begin), '\0');
      folder_.Write(path, zeroed);
      EXPECT_TRUE(is_damage()) << name << " zeros from " << begin;
    }
    folder_.Write(path, whole);
  }
  EXPECT_TRUE(folder_.Store().Load(saved->path, saved->manifest_sha256).ok());
}

TEST_F(CheckpointStoreTest, AMissingFileIsDamageAndAMissingGenerationIsNotFound) {
  const SavedCheckpoint saved = Save(1, 1);
  std::filesystem::remove(folder_.path() / saved.path / "model.safetensors");
  EXPECT_TRUE(absl::IsDataLoss(folder_.Store().Load(saved.path, "").status()));
  EXPECT_TRUE(absl::IsNotFound(folder_.Store().Load(GenerationPath(kJob, GenerationName(1, 2)), "").status()));
}

TEST_F(CheckpointStoreTest, AnotherJobsManifestIsRefused) {
  Manifest facts = FactsAt(1, 1);
  facts.job_id = "01j00000000000000000000009";
  std::vector<std::string> storage;
  const auto saved = folder_.Store().Save(facts, FilesOf('a', storage));
  ASSERT_TRUE(saved.ok());
  EXPECT_TRUE(absl::IsDataLoss(folder_.Store().Load(saved->path, "").status()));
}

TEST_F(CheckpointStoreTest, DeleteRemovesOneGenerationAndIsRepeatable) {
  const SavedCheckpoint first = Save(1, 1);
  const SavedCheckpoint second = Save(2, 2);
  EXPECT_TRUE(folder_.Store().Delete(first.path).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / first.path));
  EXPECT_TRUE(folder_.Store().Delete(first.path).ok());
  EXPECT_TRUE(folder_.Store().Load(second.path, second.manifest_sha256).ok());
}

TEST_F(CheckpointStoreTest, PathsOfOthersAreRefused) {
  Save(1, 1);
  folder_.Write("outside", "keep");
  const std::string own = kJob;
  for (const std::string& path :
       {std::string(), own, own + "/", own + "/attempt-0001", own + "/attempt-0001/", own + "/attempt-0001/step-1",
        own + "/attempt-0001/step-00000001/model.safetensors", own + "/attempt-0001/../../outside",
        own + "/../" + own + "/attempt-0001/step-00000001", std::string("../") + own + "/attempt-0001/step-00000001",
        std::string("01j00000000000000000000001/attempt-0001/step-00000001"), "/" + own + "/attempt-0001/step-00000001",
        own + "/attempt-0001/step-00000001" + std::string(1, '\0'), own + "/attempt-0001/step-00000001-iteration-"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(folder_.Store().Delete(path))) << path;
    EXPECT_TRUE(absl::IsInvalidArgument(folder_.Store().Load(path, "").status())) << path;
  }
  EXPECT_TRUE(IsGenerationOf(kJob, own + "/attempt-0001/step-00000001"));
  EXPECT_TRUE(IsGenerationOf(kJob, own + "/attempt-12345/step-123456789-iteration-123456789"));
  EXPECT_FALSE(IsGenerationOf("", "/attempt-0001/step-00000001"));
}

TEST_F(CheckpointStoreTest, ALinkInPlaceOfAGenerationIsNotFollowedByDelete) {
  std::filesystem::create_directories(folder_.path() / "elsewhere");
  folder_.Write("elsewhere/keep", "x");
  std::filesystem::create_directories(folder_.path() / kJob / "attempt-0001");
  std::filesystem::create_directory_symlink("../../elsewhere", folder_.path() / kJob / "attempt-0001/step-00000001");
  EXPECT_FALSE(folder_.Store().Delete(std::string(kJob) + "/attempt-0001/step-00000001").ok());
  EXPECT_EQ(folder_.Read("elsewhere/keep"), "x");
}

TEST(CheckpointOnFullDiskTest, LeavesNothingAndKeepsTheOldGeneration) {
  // A disk of our own, seen by this process alone.
  CheckpointFolder folder;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "NOT TESTED: a full disk, because mounting a tmpfs takes root";
  }
  {
    const process::OpenRoot root = OpenCheckpointRoot(folder.path());
    const CheckpointStore store(root, kJob);
    std::vector<std::string> storage;
    const auto first = store.Save(FactsAt(1, 1), FilesOf('a', storage));
    ASSERT_TRUE(first.ok()) << first.status();
    // Refused by the look at the free space.
    const auto refused = store.Save(FactsAt(2, 2), FilesOf('a', storage, 3 << 20));
    EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("free space"));
    // The write itself fails: the space was there when it was looked at.
    folder.Write("filler", std::string(std::size_t{2} << 20, 'x'));
    const auto descriptor = root.MakeDirectories("direct", "test");
    ASSERT_TRUE(descriptor.ok());
    const auto failed = WriteDurably(*descriptor, "file", std::vector<std::string_view>{std::string(4 << 20, 'y')});
    EXPECT_TRUE(absl::IsResourceExhausted(failed.status())) << failed.status();
    EXPECT_TRUE(std::filesystem::is_empty(folder.path() / "direct"));
    EXPECT_TRUE(store.Load(first->path, first->manifest_sha256).ok());
  }
  ::umount2(folder.path().c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace mantissa::trainer
