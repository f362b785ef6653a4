// Power failures: whatever a disk was not made to keep may be gone, in any combination, and every generation that was
// reported as saved is still there, whole; every other one is whole or absent.
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/checkpoint/checkpoint_folder.h"
#include "tests/unit/checkpoint/recorded_disk.h"
#include "worker/checkpoint/checkpoint_path.h"
#include "worker/checkpoint/durable_file.h"

namespace mantissa::trainer {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

constexpr unsigned kSeed = 20'260'729;

// A generation and the calls between which it must be there.
struct Life {
  std::string manifest_sha256;
  std::size_t saved = SIZE_MAX;
  std::size_t removed = SIZE_MAX;
};

struct Story {
  std::vector<DiskCall> calls;
  std::map<std::string, Life> lives;  // by path
};

Manifest FactsOf(std::int32_t attempt, std::int64_t step) {
  Manifest facts = FactsAt(step, step);
  facts.attempt = attempt;
  return facts;
}

// Two attempts of a job: saves, a rotation, a save that a kill cuts off in its middle, the next attempt's clearing-up
// and its own saves.
Story Tell() {
  Story story;
  const CheckpointFolder folder;
  const CheckpointStore store = folder.Store();
  RecordedDisk disk(folder.path());
  const auto save = [&](std::int32_t attempt, std::int64_t step) {
    std::vector<std::string> storage;
    const auto saved = store.Save(FactsOf(attempt, step), FilesOf(static_cast<char>('a' + step), storage, 64));
    EXPECT_TRUE(saved.ok()) << saved.status();
    story.lives[saved->path] = {saved->manifest_sha256, disk.calls().size()};
    return saved->path;
  };
  const std::string first = save(1, 1);
  save(1, 2);
  const std::string third = save(1, 3);
  story.lives[first].removed = disk.calls().size();
  EXPECT_TRUE(store.Delete(first).ok());
  // As a kill leaves it: the folder, one file, half of another.
  {
    auto torn = folder.root().MakeDirectories(GenerationPath(kJob, GenerationName(1, 4)), "test");
    EXPECT_TRUE(torn.ok());
    EXPECT_TRUE(WriteDurably(*torn, "model.safetensors", std::vector<std::string_view>{"whole"}).ok());
    const process::FileDescriptor half(::openat(torn->get(), ".optimizer.safetensors.tmp", O_WRONLY | O_CREAT, 0640));
    EXPECT_EQ(::write(half.get(), "half", 4), 4);
  }
  // The third was never committed; the second was.
  story.lives[third].removed = disk.calls().size();
  const auto reclaimed = store.Reclaim(2, {GenerationName(1, 2)});
  EXPECT_TRUE(reclaimed.ok()) << reclaimed.status();
  EXPECT_EQ(reclaimed->generations, 2);
  save(2, 2);
  save(2, 3);
  story.calls = disk.calls();
  return story;
}

// What is wrong with a disk after it failed; empty when all promises hold.
std::string FaultOf(const Story& story, std::size_t count, Unsynced fate, std::mt19937& random) {
  const CheckpointFolder after;
  WriteDiskAfterCrash(story.calls, count, fate, random, after.path());
  const CheckpointStore store = after.Store();
  for (const auto& [path, life] : story.lives) {
    const absl::Status status = store.Load(path, life.manifest_sha256).status();
    const bool promised = life.saved <= count && count <= life.removed;
    if (status.ok() || (!promised && absl::IsNotFound(status))) continue;
    return path + " after call " + std::to_string(count) + ": " + status.ToString();
  }
  // And the disk is good for more.
  std::vector<std::string> storage;
  const absl::Status next = store.Save(FactsOf(3, 9), FilesOf('n', storage)).status();
  return next.ok() ? "" : "the next save: " + next.ToString();
}

// Faults over every moment and fate.
std::vector<std::string> Faults(const Story& story, int random_fates) {
  std::mt19937 random(kSeed);
  std::vector<std::string> faults;
  for (std::size_t count = 0; count <= story.calls.size(); ++count) {
    std::vector<Unsynced> fates = {Unsynced::kLost, Unsynced::kNamesKept};
    fates.resize(fates.size() + static_cast<std::size_t>(random_fates), Unsynced::kSomeLost);
    for (const Unsynced fate : fates) {
      if (std::string fault = FaultOf(story, count, fate, random); !fault.empty()) faults.push_back(std::move(fault));
    }
  }
  return faults;
}

TEST(LostWritesTest, WhatWasSavedOutlivesAPowerFailureAtEveryCallAndTheRestIsWholeOrAbsent) {
  const Story story = Tell();
  EXPECT_GT(story.calls.size(), 100u);
  EXPECT_THAT(Faults(story, /*random_fates=*/6), IsEmpty()) << "seed " << kSeed;
}

// The test above can fail: without the syncs of files, or of folders, or of the folder that a file was just renamed in,
// it does.
TEST(LostWritesTest, AMissingSyncWouldBeNoticed) {
  const Story story = Tell();
  const auto without = [&](auto dropped) {
    Story damaged = story;
    for (DiskCall& call : damaged.calls) {
      // Its number stays taken, so that the moments of the story stay true.
      if (dropped(call)) call.kind = DiskCall::Kind::kClose;
    }
    return damaged;
  };
  const auto is_sync = [](const DiskCall& call) { return call.kind == DiskCall::Kind::kSync; };
  const auto is_file = [](const DiskCall& call) { return call.path.find(".tmp") != std::string::npos; };
  EXPECT_THAT(Faults(without([&](const DiskCall& call) { return is_sync(call) && is_file(call); }), 2), Not(IsEmpty()));
  EXPECT_THAT(Faults(without([&](const DiskCall& call) { return is_sync(call) && !is_file(call); }), 2),
              Not(IsEmpty()));
  EXPECT_THAT(Faults(without([&](const DiskCall& call) { return is_sync(call) && call.path == kJob; }), 2),
              Not(IsEmpty()));
  EXPECT_THAT(Faults(without([&](const DiskCall& call) { return is_sync(call) && call.path.empty(); }), 2),
              Not(IsEmpty()));
}

TEST(LostWritesTest, AFolderThatAKilledWriterMadeIsMadeDurableByTheNext) {
  const CheckpointFolder folder;
  RecordedDisk disk(folder.path());
  // Killed between making the folder and syncing it.
  std::filesystem::create_directory(folder.path() / kJob);
  disk.Record({DiskCall::Kind::kMakeFolder, kJob, "", ""});
  std::vector<std::string> storage;
  const auto saved = folder.Store().Save(FactsAt(1, 1), FilesOf('a', storage));
  ASSERT_TRUE(saved.ok()) << saved.status();
  std::mt19937 random(kSeed);
  const CheckpointFolder after;
  WriteDiskAfterCrash(disk.calls(), disk.calls().size(), Unsynced::kLost, random, after.path());
  EXPECT_TRUE(after.Store().Load(saved->path, saved->manifest_sha256).ok());
}

}  // namespace
}  // namespace mantissa::trainer
