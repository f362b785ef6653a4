// mantissa-trainer in a process of its own, with an agent's end of its frames. TRAINER_PROGRAM is its path.
#pragma once

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/trainer/agent_end.h"
#include "tests/unit/trainer/run_folder.h"

namespace mantissa::trainer {

inline constexpr int kFrames = 3;

class Program {
 public:
  explicit Program(std::vector<std::string> arguments = {"--frames-fd", "3", "--device", "cpu"})
      : Program(FramePair(), std::move(arguments)) {}
  ~Program() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  AgentEnd& agent() { return agent_; }
  pid_t pid() const { return pid_; }

  // As an agent binds it: to the roots of `folder` and two threads of the CPU.
  void Bind(const RunFolder& folder) {
    v1::TrainerCommand command;
    v1::Bind& bind = *command.mutable_bind();
    for (const auto& [name, path, writable] :
         {std::tuple{"data", folder.data(), false}, std::tuple{"checkpoints", folder.checkpoints(), true}}) {
      v1::BoundRoot& root = *bind.add_roots();
      root.set_name(name);
      root.set_path(path.string());
      root.set_writable(writable);
    }
    bind.mutable_device()->set_cpu_threads(2);
    const auto hello = agent_.Await();
    ASSERT_TRUE(hello && hello->has_hello());
    agent_.Send(command);
    const auto bound = agent_.Await();
    ASSERT_TRUE(bound && bound->has_bound());
    ASSERT_EQ(bound->bound().error(), "");
  }

  // Its exit code, -1 when a signal ended it.
  int Wait() {
    int status = 0;
    EXPECT_GT(::waitpid(std::exchange(pid_, -1), &status, 0), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  Program(std::pair<process::FileDescriptor, process::FileDescriptor> ends, std::vector<std::string> arguments)
      : agent_(std::move(ends.second)) {
    arguments.insert(arguments.begin(), TRAINER_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    // dup2 onto itself would keep O_CLOEXEC.
    const process::FileDescriptor trainer(::fcntl(ends.first.get(), F_DUPFD_CLOEXEC, kFrames + 1));
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, trainer.get(), kFrames);
    EXPECT_EQ(::posix_spawn(&pid_, TRAINER_PROGRAM, &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
  }

  AgentEnd agent_;
  pid_t pid_ = -1;
};

}  // namespace mantissa::trainer
