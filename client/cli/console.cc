#include "client/cli/console.h"

#include <cerrno>
#include <poll.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"

namespace mantissa::cli {

void FdOutput::Write(std::string_view text) {
  while (error_ == 0 && !text.empty()) {
    const ssize_t wrote = ::write(fd_, text.data(), text.size());
    if (wrote >= 0) {
      text.remove_prefix(static_cast<std::size_t>(wrote));
    } else if (errno == EAGAIN) {
      // The shell may have left the descriptor in non-blocking mode.
      pollfd writable = {fd_, POLLOUT, 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
}

void Console::Note(std::string_view text) const {
  std::string line(text);
  line += '\n';
  err.Write(utf8 ? line : ToAscii(line));
}

int Console::Fail(const absl::Status& status) const {
  const std::string_view head = err_look.color ? "\x1b[1;31merror:\x1b[0m " : "error: ";
  Note(absl::StrCat(std::string(head), std::string(status.message())));
  return ExitCodeOf(status.code());
}

bool WantsColor(ColorChoice choice, bool terminal, const process::Environment& environment) {
  if (choice != ColorChoice::kAuto) return choice == ColorChoice::kAlways;
  // no-color.org: present and not empty.
  const std::string no_color = environment("NO_COLOR").value_or("");
  return terminal && no_color.empty() && environment("TERM").value_or("") != "dumb";
}

bool LocaleIsUtf8(const process::Environment& environment) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string locale = absl::AsciiStrToLower(environment(name).value_or(""));
    if (locale.empty()) continue;
    return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

ExitCode ExitCodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitNotAuthorised;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimedOut;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitError;
  }
}

}  // namespace mantissa::cli
