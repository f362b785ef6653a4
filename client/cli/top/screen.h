// The whole of a terminal.
#pragma once

#include <optional>
#include <string>
#include <termios.h>
#include <unistd.h>
#include <vector>

#include "client/cli/console.h"

namespace mantissa::cli {

// Takes the terminal from construction to destruction, after which it shows what it showed before: the picture has a
// screen of its own (the alternate one), keys are read as they are pressed and not shown. A picture is one write,
// bracketed as a synchronised update, so that it never flickers. Ctrl-Z is off: a shell would be left with half of
// this. Used by one thread.
class Screen {
 public:
  explicit Screen(const Console& console);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Columns and lines as they are now.
  int width() const;
  int height() const;

  // Lines that are no wider and no more than that. Writes nothing when nothing has changed.
  void Show(const std::vector<std::string>& lines);

  // Readable when a key was pressed; -1 where there are no keys.
  int keys_fd() const { return has_keys_ ? STDIN_FILENO : -1; }
  // What was pressed, once it is readable. At the end of the keyboard there are no keys any more.
  std::string TakeKeys();

 private:
  const Console& console_;
  std::optional<termios> keyboard_;  // as it was found
  bool has_keys_ = false;
  std::vector<std::string> shown_;
  int shown_width_ = 0, shown_height_ = 0;
};

}  // namespace mantissa::cli
