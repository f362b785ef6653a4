#include "client/cli/top/screen.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/ioctl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace mantissa::cli {
namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";  // the alternate screen, without a cursor
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";
constexpr std::string_view kBeginUpdate = "\x1b[?2026h";  // terminals that don't know it ignore it
constexpr std::string_view kEndUpdate = "\x1b[?2026l";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kClearLine = "\x1b[K";
constexpr std::string_view kClearBelow = "\x1b[J";
constexpr int kLines = 24;  // of a terminal that does not say

}  // namespace

Screen::Screen(const Console& console) : console_(console) {
  termios found = {};
  // A process in the background that touched the keyboard would be stopped.
  if (::tcgetpgrp(STDIN_FILENO) == ::getpgrp() && ::tcgetattr(STDIN_FILENO, &found) == 0) {
    keyboard_ = found;
    termios keys = found;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    has_keys_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
  }
  console_.out.Write(kEnter);
}

Screen::~Screen() {
  console_.out.Write(kLeave);
  if (keyboard_) ::tcsetattr(STDIN_FILENO, TCSANOW, &*keyboard_);
}

int Screen::width() const { return std::max(1, console_.width()); }

int Screen::height() const {
  winsize size = {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row : kLines;
}

void Screen::Show(const std::vector<std::string>& lines) {
  const int width = this->width(), height = this->height();
  if (lines == shown_ && width == shown_width_ && height == shown_height_) return;
  std::string frame = absl::StrCat(std::string(kBeginUpdate), std::string(kHome));
  // The last line has no line feed, which would scroll a picture that is as high as the screen.
  for (std::size_t i = 0; i < lines.size(); ++i) {
    absl::StrAppend(&frame, i > 0 ? "\r\n" : "", lines[i], std::string(kClearLine));
  }
  absl::StrAppend(&frame, std::string(kClearBelow), std::string(kEndUpdate));
  console_.out.Write(frame);
  shown_ = lines;
  shown_width_ = width;
  shown_height_ = height;
}

std::string Screen::TakeKeys() {
  std::array<char, 64> keys;
  const ssize_t got = ::read(STDIN_FILENO, keys.data(), keys.size());
  has_keys_ = got > 0;
  return std::string(keys.data(), static_cast<std::size_t>(std::max<ssize_t>(0, got)));
}

}  // namespace mantissa::cli
