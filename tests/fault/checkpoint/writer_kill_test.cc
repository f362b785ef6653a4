// A process that does nothing but save, rotate and clear up is killed at random moments, hundreds of times. Whatever it
// said was saved is whole; whatever else it left goes with the next one.
// MANTISSA_FAULT_WRITER_KILLS: how many (500).
#include <chrono>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "process/file_descriptor.h"
#include "tests/fault/checkpoint/rows.h"
#include "tests/unit/checkpoint/checkpoint_folder.h"
#include "worker/checkpoint/checkpoint_path.h"

namespace mantissa::trainer {
namespace {

struct Pipe {
  process::FileDescriptor read;
  process::FileDescriptor write;

  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read = process::FileDescriptor(ends[0]);
    write = process::FileDescriptor(ends[1]);
  }
};

// What crosses the pipes, shorter than PIPE_BUF, so that a kill never cuts one in two.
struct Said {
  std::int64_t step = 0;
  char manifest_sha256[65] = {};
};
struct Answer {
  std::int64_t released_step = 0;  // 0: none
  std::int32_t released_attempt = 0;
};

// One attempt: clears up, then saves for ever, deleting what it is told to.
[[noreturn]] void Write(const process::OpenRoot& root, std::int32_t attempt, std::int64_t step,
                        const std::set<std::string>& committed, int said, int answers) {
  const CheckpointStore store(root, kJob);
  if (!store.Reclaim(attempt, committed).ok()) ::_exit(3);
  for (;; ++step) {
    Manifest facts = FactsAt(step, step);
    facts.attempt = attempt;
    std::vector<std::string> storage;
    const auto saved = store.Save(facts, FilesOf(static_cast<char>('a' + step % 20), storage, 4096));
    if (!saved.ok()) ::_exit(4);
    Said word{step, {}};
    saved->manifest_sha256.copy(word.manifest_sha256, sizeof(word.manifest_sha256) - 1);
    if (::write(said, &word, sizeof(word)) != sizeof(word)) ::_exit(5);
    Answer answer;
    if (::read(answers, &answer, sizeof(answer)) != sizeof(answer)) ::_exit(6);
    if (answer.released_step == 0) continue;
    const std::string name = GenerationName(answer.released_attempt, answer.released_step);
    if (!store.Delete(GenerationPath(kJob, name)).ok()) ::_exit(7);
  }
}

v1::Checkpoint RowOf(std::int32_t attempt, const Said& said) {
  v1::Checkpoint row;
  row.set_job_id(kJob);
  row.set_attempt(attempt);
  row.set_name(GenerationName(attempt, said.step));
  row.set_step(static_cast<std::int32_t>(said.step));
  row.set_iteration(row.step());
  row.set_storage_id("storage");
  row.set_path(GenerationPath(kJob, row.name()));
  row.set_manifest_sha256(said.manifest_sha256);
  row.set_finite(true);
  return row;
}

void Pass(std::chrono::nanoseconds time) {
  const timespec span = {time.count() / 1'000'000'000, time.count() % 1'000'000'000};
  ::nanosleep(&span, nullptr);
}

TEST(WriterKillTest, EveryCommittedGenerationIsWholeAndWhatIsNotGoesWithTheNextAttempt) {
  const int kills = Rounds("MANTISSA_FAULT_WRITER_KILLS", 500);
  const unsigned seed = FaultSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const CheckpointFolder folder;
  CheckpointRows rows;
  std::int64_t step = 1;
  int torn = 0;
  std::chrono::nanoseconds one_save = std::chrono::milliseconds(1);  // as this disk and this machine's load have it
  for (std::int32_t attempt = 1; attempt <= kills; ++attempt) {
    Pipe said;
    Pipe answers;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      said.read.Close();
      answers.write.Close();
      Write(folder.root(), attempt, step, rows.names(), said.write.get(), answers.read.get());
    }
    said.write.Close();
    answers.read.Close();
    // One that has just begun, or one in the middle of its work: a kill anywhere in a save or just behind it.
    const int heard = static_cast<int>(random() % 8);
    Said word;
    auto answered = std::chrono::steady_clock::now();
    for (int i = 0; i < heard && ::read(said.read.get(), &word, sizeof(word)) == sizeof(word); ++i) {
      if (i > 0) one_save = std::chrono::steady_clock::now() - answered;
      Answer answer;
      const std::vector<std::string> released = rows.Commit(RowOf(attempt, word));
      for (const v1::Checkpoint& row : rows.all()) {
        if (!released.empty() && row.path() == released.back()) answer = {row.step(), row.attempt()};
      }
      step = word.step + 1;
      ASSERT_EQ(::write(answers.write.get(), &answer, sizeof(answer)), static_cast<ssize_t>(sizeof(answer)));
      answered = std::chrono::steady_clock::now();
    }
    Pass(one_save * (random() % 100) / 80);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself: " << WEXITSTATUS(status);
    // What it said with its last breath counts; the server hears it from the agent, who lives.
    while (::read(said.read.get(), &word, sizeof(word)) == sizeof(word)) {
      rows.Commit(RowOf(attempt, word));
      step = word.step + 1;
    }
    ASSERT_NO_FATAL_FAILURE(rows.Verify(folder.root(), kJob));
    const auto reclaimed = folder.Store().Reclaim(attempt + 1, rows.names());
    ASSERT_TRUE(reclaimed.ok()) << reclaimed.status();
    torn += reclaimed->generations;
    ASSERT_NO_FATAL_FAILURE(rows.Verify(folder.root(), kJob));
    if (::testing::Test::HasFailure()) return;
  }
  // The kills did hit saves: else the loop proves nothing.
  EXPECT_GT(torn, kills / 50);
  // Nothing is on disk but rows: no torn generation of hundreds of kills was left.
  for (const auto& of_attempt : std::filesystem::directory_iterator(folder.path() / kJob)) {
    for (const auto& generation : std::filesystem::directory_iterator(of_attempt.path())) {
      const std::string name = std::filesystem::relative(generation.path(), folder.path() / kJob);
      EXPECT_TRUE(rows.names().contains(name)) << name;
    }
  }
  RecordProperty("generations_reclaimed", torn);
}

}  // namespace
}  // namespace mantissa::trainer
