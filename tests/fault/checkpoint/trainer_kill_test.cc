// mantissa-trainer is killed at random moments, again and again, and its job goes on; and it runs on a disk that is
// full. MANTISSA_FAULT_TRAINER_KILLS: how many kills (100).
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <random>
#include <sched.h>
#include <set>
#include <string>
#include <sys/mount.h>
#include <time.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fault/checkpoint/rows.h"
#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/trainer_program.h"
#include "worker/checkpoint/checkpoint_path.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;

// Saves all the time, and has everything with a memory: a scale that falls and grows, accumulation, dropout.
constexpr char kJobText[] =
    "training { model { mlp { hidden: 16 dropout: 0.1 } } accumulation: 2 iterations: 1000000000 "
    "precision { mode: FP16 loss_scale { init: 1e6 growth_interval: 5 } } checkpoint { every_steps: 3 } "
    "telemetry { every_iterations: 1000 } }";

void Pass(std::chrono::microseconds time) {
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(time);
  const timespec span = {whole.count(), static_cast<long>((time - whole).count() * 1000)};
  ::nanosleep(&span, nullptr);
}

v1::TrainerCommand RunCommand(std::int32_t attempt, const CheckpointRows& rows) {
  v1::TrainerCommand command;
  *command.mutable_run() = AttemptOf(kJobText, attempt);
  for (const v1::Checkpoint& row : rows.Kept()) *command.mutable_run()->add_resume_from() = row;
  command.mutable_run()->mutable_committed();
  for (const v1::Checkpoint& row : rows.all()) command.mutable_run()->mutable_committed()->add_names(row.name());
  return command;
}

// Generations on disk by name.
std::set<std::string> OnDisk(const RunFolder& folder) {
  std::set<std::string> names;
  const std::filesystem::path job = folder.checkpoints() / kJob;
  if (!std::filesystem::exists(job)) return names;
  for (const auto& attempt : std::filesystem::directory_iterator(job)) {
    for (const auto& generation : std::filesystem::directory_iterator(attempt.path())) {
      names.insert(std::filesystem::relative(generation.path(), job));
    }
  }
  return names;
}

TEST(TrainerKillTest, EveryAttemptResumesFromTheNewestCommittedGenerationAndLosesNone) {
  const int kills = Rounds("MANTISSA_FAULT_TRAINER_KILLS", 100);
  const unsigned seed = FaultSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const RunFolder folder;
  CheckpointRows rows;
  int uncommitted = 0;
  for (std::int32_t attempt = 1; attempt <= kills; ++attempt) {
    const std::string newest = rows.all().empty() ? "" : rows.all().back().name();
    rows.BeginAttempt(newest);
    Program trainer;
    ASSERT_NO_FATAL_FAILURE(trainer.Bind(folder));
    trainer.agent().Send(RunCommand(attempt, rows));
    std::string resumed_from = "nothing was said";
    const auto hear = [&](const v1::TrainerReport& report, bool answers) {
      if (report.has_started()) resumed_from = report.started().resumed_from();
      ASSERT_FALSE(report.has_ended()) << report.ended().message();
      if (!report.has_checkpoint_saved()) return;
      v1::Checkpoint row = report.checkpoint_saved().checkpoint();
      if (row.storage_id().empty()) row.set_storage_id("storage");
      v1::TrainerCommand committed;
      committed.mutable_checkpoint_committed()->set_name(row.name());
      for (const std::string& path : rows.Commit(row)) committed.mutable_checkpoint_committed()->add_deletions(path);
      if (answers) trainer.agent().Send(committed);
    };
    // Sometimes before it has begun, sometimes after a few saves.
    const std::size_t wanted = rows.all().size() + random() % 6;
    while (rows.all().size() < wanted) {
      const auto report = trainer.agent().Await();
      ASSERT_TRUE(report);
      ASSERT_NO_FATAL_FAILURE(hear(*report, /*answers=*/true));
    }
    Pass(std::chrono::microseconds(random() % 4000));
    ASSERT_EQ(::kill(trainer.pid(), SIGKILL), 0);
    EXPECT_EQ(trainer.Wait(), -1);
    // What the agent still finds in the socket it commits, too.
    for (const v1::TrainerReport& report : trainer.agent().Read()) {
      ASSERT_NO_FATAL_FAILURE(hear(report, /*answers=*/false));
    }
    if (resumed_from != "nothing was said") {
      EXPECT_EQ(resumed_from, newest);
      // Of earlier attempts it left rows only.
      for (const std::string& name : OnDisk(folder)) {
        const bool own = name.starts_with(GenerationName(attempt, 0).substr(0, name.find('/')));
        EXPECT_TRUE(own || rows.names().contains(name)) << name << " in attempt " << attempt;
        uncommitted += own && !rows.names().contains(name) ? 1 : 0;
      }
    }
    ASSERT_NO_FATAL_FAILURE(rows.Verify(folder.checkpoint_root(), kJob));
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(rows.all().size(), static_cast<std::size_t>(kills));
  RecordProperty("torn_or_uncommitted", uncommitted);
}

TEST(TrainerOnAFullDiskTest, CostsCheckpointsThenTheAttemptButNoGenerationAndTheJobGoesOnWhenThereIsSpace) {
  const RunFolder folder;
  // A disk of our own, seen by this process and its children alone.
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", folder.checkpoints().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "NOT TESTED: a full disk, because mounting a tmpfs takes root";
  }
  // Half a megabyte a generation.
  const std::string job =
      "training { model { mlp { hidden: 256 hidden: 128 } } iterations: 40 checkpoint { every_steps: 10 } }";
  const auto run = [&](const v1::RunAttempt& attempt) {
    Program trainer;
    trainer.Bind(folder);
    v1::TrainerCommand command;
    *command.mutable_run() = attempt;
    trainer.agent().Send(command);
    return Follow(trainer.agent(), [](const v1::TrainerReport&) {});
  };
  v1::RunAttempt first = AttemptOf(job);
  first.mutable_spec()->mutable_training()->set_iterations(10);
  const AttemptSeen good = run(first);
  ASSERT_EQ(good.saved.size(), 1u) << good.ended.message();

  const std::filesystem::path ballast = folder.checkpoints() / "ballast";
  const auto space = std::filesystem::space(folder.checkpoints());
  RunFolder::Write(ballast, std::string(space.available - (std::size_t{100} << 10), 'x'));
  v1::RunAttempt second = AttemptOf(job, 2);
  *second.add_resume_from() = good.saved.at(0);
  second.mutable_committed()->add_names(good.saved.at(0).name());
  const AttemptSeen full = run(second);
  EXPECT_EQ(full.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(full.ended.reason(), v1::Reason::CHECKPOINT_FAILED) << full.ended.message();
  EXPECT_THAT(ReasonsOf(full.events()), Contains("CHECKPOINT_NOT_SAVED").Times(3));
  EXPECT_TRUE(full.saved.empty());
  const process::OpenRoot root = *process::OpenRoot::Open({"checkpoints", folder.checkpoints().string(), true});
  EXPECT_TRUE(CheckpointStore(root, kJob).Load(good.saved[0].path(), good.saved[0].manifest_sha256()).ok());

  std::filesystem::remove(ballast);
  v1::RunAttempt third = second;
  third.set_attempt(3);
  const AttemptSeen done = run(third);
  EXPECT_EQ(done.ended.state(), v1::Attempt::SUCCEEDED) << done.ended.message();
  EXPECT_EQ(done.started.at(0).resumed_from(), good.saved.at(0).name());
  EXPECT_EQ(done.saved.size(), 3u);
  ::umount2(folder.checkpoints().c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace mantissa::trainer
