// The command line run inside the test, with its output kept.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/console.h"
#include "process/clock.h"
#include "process/mutex.h"

namespace mantissa::cli {

// Keeps what is written. Thread-safe, so that a test can read while a command runs.
class KeptOutput final : public Output {
 public:
  void Write(std::string_view text) override {
    process::MutexLock lock(mutex_);
    text_ += text;
  }
  bool failed() const override { return false; }
  std::string text() const {
    process::MutexLock lock(mutex_);
    return text_;
  }

 private:
  mutable process::Mutex mutex_;
  std::string text_ ABSL_GUARDED_BY(mutex_);
};

struct CliRun {
  int code = -1;
  std::string out;
  std::string err;
};

struct CliWorld {
  bool terminal = false;
  int width = 80;
  std::map<std::string, std::string> environment = {{"LANG", "C.UTF-8"}, {"TERM", "xterm"}};
};

inline CliRun RunCli(const std::vector<std::string>& arguments, const CliWorld& world = {}) {
  KeptOutput out;
  KeptOutput err;
  const process::RealClock clock;
  CliRun run;
  run.code = RunCommandLine(arguments, {.out = out,
                                        .err = err,
                                        .out_is_terminal = world.terminal,
                                        .err_is_terminal = world.terminal,
                                        .width = [&] { return world.width; },
                                        .environment = [&](const std::string& name) -> std::optional<std::string> {
                                          const auto found = world.environment.find(name);
                                          if (found == world.environment.end()) return std::nullopt;
                                          return found->second;
                                        },
                                        .clock = clock});
  run.out = out.text();
  run.err = err.text();
  return run;
}

}  // namespace mantissa::cli
