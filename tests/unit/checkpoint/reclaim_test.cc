// What killed attempts left is removed by a later one; what anybody named is not.
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/checkpoint/checkpoint_folder.h"
#include "worker/checkpoint/checkpoint_path.h"

namespace mantissa::trainer {
namespace {

class ReclaimTest : public ::testing::Test {
 protected:
  // Its name.
  std::string Save(std::int32_t attempt, std::int64_t step) {
    Manifest facts = FactsAt(step, step);
    facts.attempt = attempt;
    std::vector<std::string> storage;
    const auto saved = folder_.Store().Save(facts, FilesOf('a', storage));
    EXPECT_TRUE(saved.ok()) << saved.status();
    return saved->name;
  }

  // As a kill leaves it: no manifest, one file under its temporary name.
  std::string Tear(std::int32_t attempt, std::int64_t step) {
    const std::string name = GenerationName(attempt, step);
    std::filesystem::create_directories(folder_.path() / kJob / name);
    folder_.Write(std::string(kJob) + "/" + name + "/.model.safetensors.tmp", std::string(100, 'x'));
    return name;
  }

  bool Exists(const std::string& name) const { return std::filesystem::exists(folder_.path() / kJob / name); }

  // Every file of the root, with its bytes.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      const std::string name = std::filesystem::relative(entry.path(), folder_.path());
      files[name] = entry.is_regular_file() ? folder_.Read(name) : "";
    }
    return files;
  }

  CheckpointFolder folder_;
};

TEST_F(ReclaimTest, RemovesTornAndUncommittedGenerationsOfEarlierAttempts) {
  const std::string committed = Save(1, 10);
  const std::string uncommitted = Save(1, 20);
  const std::string torn = Tear(2, 30);
  const auto reclaimed = folder_.Store().Reclaim(3, {committed});
  ASSERT_TRUE(reclaimed.ok()) << reclaimed.status();
  EXPECT_EQ(reclaimed->generations, 2);
  EXPECT_GT(reclaimed->size_bytes, 100);
  EXPECT_TRUE(Exists(committed));
  EXPECT_FALSE(Exists(uncommitted));
  EXPECT_FALSE(Exists(torn));
  EXPECT_FALSE(Exists("attempt-0002")) << "an attempt's empty folder goes, too";
  const auto again = folder_.Store().Reclaim(3, {committed});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->generations, 0);
}

TEST_F(ReclaimTest, LeavesItsOwnAttemptAndLaterOnesAlone) {
  Tear(2, 10);
  Tear(3, 10);
  Save(3, 20);
  const auto before = Files();
  const auto reclaimed = folder_.Store().Reclaim(2, {});
  ASSERT_TRUE(reclaimed.ok());
  EXPECT_EQ(reclaimed->generations, 0);
  EXPECT_EQ(Files(), before);
}

TEST_F(ReclaimTest, TouchesNothingThatIsNotAGenerationOfThisJob) {
  Save(1, 10);
  std::filesystem::create_directories(folder_.path() / "01j00000000000000000000009/attempt-0001/step-00000010");
  std::filesystem::create_directories(folder_.path() / "elsewhere/step-00000001");
  folder_.Write("elsewhere/step-00000001/keep", "x");
  const std::filesystem::path job = folder_.path() / kJob;
  for (const char* name : {"attempt-1/step-00000010", "attempt-00001/step-00000010", "attempt-0000/step-00000010",
                           "attempt--001/step-00000010", "attempt-0001/notes", "attempt-0001/step-10", "notes"}) {
    std::filesystem::create_directories(job / name);
  }
  std::filesystem::create_directory_symlink("../elsewhere", job / "attempt-0002");
  std::filesystem::create_directory_symlink("../../elsewhere/step-00000001", job / "attempt-0001/step-00000077");
  folder_.Write(std::string(kJob) + "/attempt-0001/loose", "x");
  const auto before = Files();
  const auto reclaimed = folder_.Store().Reclaim(9, {GenerationName(1, 10)});
  ASSERT_TRUE(reclaimed.ok()) << reclaimed.status();
  EXPECT_EQ(reclaimed->generations, 0);
  EXPECT_EQ(Files(), before);
}

TEST_F(ReclaimTest, AJobWithoutAFolderHasNothingToReclaim) {
  const auto reclaimed = folder_.Store().Reclaim(5, {});
  ASSERT_TRUE(reclaimed.ok()) << reclaimed.status();
  EXPECT_EQ(reclaimed->generations, 0);
}

TEST_F(ReclaimTest, NothingThatIsNamedIsEverTouched) {
  constexpr unsigned kSeed = 7;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 60; ++round) {
    std::filesystem::remove_all(folder_.path() / kJob);
    std::set<std::string> committed;
    std::set<std::string> rest;
    for (std::int32_t attempt = 1; attempt <= 4; ++attempt) {
      for (std::int64_t step = 1; step <= 3; ++step) {
        const auto kind = random() % 4;
        if (kind == 0) committed.insert(Save(attempt, step));
        if (kind == 1) rest.insert(Save(attempt, step));
        if (kind == 2) rest.insert(Tear(attempt, step));
      }
    }
    std::map<std::string, std::string> named;
    for (const auto& [name, bytes] : Files()) {
      for (const std::string& generation : committed) {
        if (name.starts_with(std::string(kJob) + "/" + generation + "/")) named[name] = bytes;
      }
    }
    const auto attempt = static_cast<std::int32_t>(1 + random() % 5);
    ASSERT_TRUE(folder_.Store().Reclaim(attempt, committed).ok());
    const auto after = Files();
    for (const auto& [name, bytes] : named) EXPECT_EQ(after.at(name), bytes) << "round " << round << ", seed " << kSeed;
    for (const std::string& name : rest) {
      const bool earlier = *AttemptOfFolder(name.substr(0, name.find('/'))) < attempt;
      EXPECT_EQ(Exists(name), !earlier) << name << ", round " << round << ", seed " << kSeed;
    }
  }
}

TEST(AttemptFolderTest, OnlyTheNamesThatAreGivenAreRead) {
  EXPECT_EQ(AttemptOfFolder("attempt-0001"), 1);
  EXPECT_EQ(AttemptOfFolder("attempt-12345"), 12345);
  for (const char* name : {"attempt-1", "attempt-00001", "attempt-0000", "attempt--001", "attempt-", "attempt-+001",
                           "attempt-0001x", "attempt-99999999999", "", "step-00000001"}) {
    EXPECT_FALSE(AttemptOfFolder(name)) << name;
  }
}

}  // namespace
}  // namespace mantissa::trainer
