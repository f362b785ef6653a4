// The world around a command: its streams, terminal, environment and clock.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "client/cli/exit_code.h"
#include "process/clock.h"
#include "process/settings.h"

namespace mantissa::cli {

// Where text goes.
class Output {
 public:
  virtual ~Output() = default;
  // All of it, in one write where the kernel takes it so. After a failure everything is dropped.
  virtual void Write(std::string_view text) = 0;
  // A write failed: the reader is gone, or the disk is full.
  virtual bool failed() const = 0;
};

// A file descriptor, unbuffered. Not thread-safe.
class FdOutput final : public Output {
 public:
  explicit FdOutput(int fd) : fd_(fd) {}
  void Write(std::string_view text) override;
  bool failed() const override { return error_ != 0; }

 private:
  const int fd_;
  int error_ = 0;
};

// What a stream can show.
struct StreamLook {
  bool terminal = false;
  bool color = false;
};

// Data go to `out`; messages and progress to `err`. Used by one thread.
struct Console {
  Output& out;
  Output& err;
  StreamLook out_look;
  StreamLook err_look;
  bool utf8 = true;            // the locale's character set
  std::function<int()> width;  // columns of the terminal now; 80 where there is none
  process::Environment environment;
  const process::Clock& clock;

  // One line on stderr.
  void Note(std::string_view text) const;
  // An error on stderr, its first line headed `error:`. Returns the exit code that belongs to it.
  int Fail(const absl::Status& status) const;
  // The width that a table may take: unlimited where stdout is no terminal.
  int TableWidth() const { return out_look.terminal ? width() : 0; }
};

enum class ColorChoice { kAuto, kAlways, kNever };

// Colour for a stream: asked for, or a terminal that does not say NO_COLOR or TERM=dumb.
bool WantsColor(ColorChoice choice, bool terminal, const process::Environment& environment);

// What LC_ALL, LC_CTYPE and LANG say, the first that is set.
bool LocaleIsUtf8(const process::Environment& environment);

ExitCode ExitCodeOf(absl::StatusCode code);

}  // namespace mantissa::cli
