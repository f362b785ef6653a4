// mantissa-trainer itself, in processes of its own, as an agent starts it.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/bits.h"
#include "tests/unit/trainer/trainer_program.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;

class ProgramTest : public ::testing::Test {
 protected:
  void Bind(Program& program) { ASSERT_NO_FATAL_FAILURE(program.Bind(folder_)); }

  AttemptSeen Run(Program& program, const v1::RunAttempt& run) {
    v1::TrainerCommand command;
    *command.mutable_run() = run;
    program.agent().Send(command);
    return Follow(program.agent(), [](const v1::TrainerReport&) {});
  }

  RunFolder folder_;
};

// Records and tensors, without what tells attempts of one job apart.
std::map<std::string, std::string> ResultBits(const AttemptSeen& seen) {
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  std::map<std::string, std::string> bits = RecordBits(seen.segments);
  for (const v1::Artifact& artifact : seen.ended.artifacts()) {
    if (artifact.name() != "MANIFEST.json") bits[artifact.name()] = artifact.sha256();
  }
  return bits;
}

TEST_F(ProgramTest, AJobsResultIsBitIdenticalInAFreshAndInAUsedProcess) {
  const std::string job =
      "training { model { mlp { hidden: 16 dropout: 0.3 } } precision { mode: FP16 loss_scale { init: 1e9 } } "
      "iterations: 60 seed: 5 accumulation: 2 data { eval { synthetic { samples: 8 shape: 6 classes: 3 } } } }";
  Program used;
  ASSERT_NO_FATAL_FAILURE(Bind(used));
  // Another model in another precision, with other threads, and an attempt that fails.
  EXPECT_EQ(Run(used, LanguageAttempt(1)).ended.state(), v1::Attempt::SUCCEEDED);
  EXPECT_EQ(Run(used, AttemptOf("training { batch_size: -1 }", 2)).ended.reason(), v1::Reason::BAD_SPEC);
  const auto in_used = ResultBits(Run(used, AttemptOf(job, 3)));
  const auto again = ResultBits(Run(used, AttemptOf(job, 4)));

  Program fresh;
  ASSERT_NO_FATAL_FAILURE(Bind(fresh));
  const auto in_fresh = ResultBits(Run(fresh, AttemptOf(job, 5)));
  EXPECT_THAT(in_fresh, AllOf(Contains(Key("model.safetensors")), Contains(Key("optimizer.safetensors")),
                              Contains(Key("LOSS")), Contains(Key("LOSS_SCALE"))));
  EXPECT_THAT(Differences(in_used, in_fresh), IsEmpty());
  EXPECT_THAT(Differences(again, in_fresh), IsEmpty());
}

TEST_F(ProgramTest, AResumeInAnotherProcessEndsWithTheSameBits) {
  const std::string job =
      "training { model { mlp { hidden: 16 dropout: 0.3 } } precision { mode: BF16 } iterations: 60 "
      "checkpoint { every_steps: 23 } }";
  Program first;
  ASSERT_NO_FATAL_FAILURE(Bind(first));
  const AttemptSeen whole = Run(first, AttemptOf(job, 1));
  ASSERT_EQ(whole.saved.size(), 3u);
  Program second;
  ASSERT_NO_FATAL_FAILURE(Bind(second));
  v1::RunAttempt run = AttemptOf(job, 2);
  *run.add_resume_from() = whole.saved.at(0);
  const AttemptSeen resumed = Run(second, run);
  EXPECT_EQ(resumed.started.at(0).resumed_from(), "attempt-0001/step-00000023");
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_EQ(RunFolder::Read(folder_.checkpoints() / resumed.saved.back().path() / file),
              RunFolder::Read(folder_.checkpoints() / whole.saved.back().path() / file))
        << file;
  }
}

TEST_F(ProgramTest, EndsCleanlyWhenToldAndWhenTheAgentIsGone) {
  Program told;
  ASSERT_NO_FATAL_FAILURE(Bind(told));
  told.agent().Send(ShutdownCommand());
  EXPECT_EQ(told.Wait(), 0);
  Program left;
  ASSERT_TRUE(left.agent().Await().has_value());
  left.agent().Close();
  EXPECT_EQ(left.Wait(), 0);
}

TEST_F(ProgramTest, ACtrlCIsTheAgentsAffair) {
  Program program;
  ASSERT_NO_FATAL_FAILURE(Bind(program));
  ASSERT_EQ(::kill(program.pid(), SIGINT), 0);
  EXPECT_EQ(Run(program, AttemptOf()).ended.state(), v1::Attempt::SUCCEEDED);
}

// Bytes of address space that a process has.
std::uint64_t AddressSpace(pid_t pid) {
  std::uint64_t pages = 0;
  std::FILE* file = std::fopen(absl::StrCat("/proc/", pid, "/statm").c_str(), "r");
  EXPECT_NE(file, nullptr);
  if (file == nullptr) return 0;
  EXPECT_EQ(std::fscanf(file, "%lu", &pages), 1);
  std::fclose(file);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

TEST_F(ProgramTest, AnAllocationThatFailsIsOutOfMemoryAndTheProcessLives) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer's own allocator ends the process";
#endif
  Program program;
  ASSERT_NO_FATAL_FAILURE(Bind(program));
  // What the estimate finds free is not there when it is asked for: 64 MiB more than it has is all it gets, and the
  // parameters alone are 256 MiB.
  const rlim_t limit = AddressSpace(program.pid()) + (std::uint64_t{64} << 20);
  const rlimit address_space = {limit, limit};
  ASSERT_EQ(::prlimit(program.pid(), RLIMIT_AS, &address_space, nullptr), 0);
  const AttemptSeen seen = Run(program, AttemptOf("training { model { mlp { hidden: 8192 hidden: 8192 } } }"));
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::OUT_OF_DEVICE_MEMORY) << seen.ended.message();
  EXPECT_THAT(seen.ended.message(), AllOf(HasSubstr("training: the memory of cpu is used up"),
                                          HasSubstr("use a smaller batch_size, more accumulation")));
  EXPECT_FALSE(seen.ended.reusable());
  EXPECT_EQ(Run(program, AttemptOf("", 2)).ended.state(), v1::Attempt::SUCCEEDED);
}

TEST_F(ProgramTest, WrongArgumentsAreAUsageError) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"--frames-fd", "3", "--device", "tpu"},
                                                    {"--frames-fd", "3", "--device", "cuda:x"},
                                                    {"--frames-fd", "3", "--device", "cuda:-1"},
                                                    {"--frames-fd", "3", "--device", "cuda:128"},
                                                    {"--frames-fd", "77", "--device", "cpu"},
                                                    {"--frames-fd", "3", "--no-such-flag"}}) {
    EXPECT_EQ(Program(arguments).Wait(), 2) << ::testing::PrintToString(arguments);
  }
}

TEST_F(ProgramTest, AMissingPluginIsAFailureAndNoUsageError) {
  EXPECT_EQ(Program({"--frames-fd", "3", "--device", "cuda:0", "--plugin", "/nowhere/plugin.so"}).Wait(), 1);
}

TEST_F(ProgramTest, AskingForTheVersionIsNoError) { EXPECT_EQ(Program({"--version"}).Wait(), 0); }

}  // namespace
}  // namespace mantissa::trainer
