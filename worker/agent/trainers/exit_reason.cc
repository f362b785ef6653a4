#include "worker/agent/trainers/exit_reason.h"

#include <csignal>
#include <cstring>
#include <sys/wait.h>

#include "absl/strings/str_cat.h"

#include "process/utf8.h"

namespace mantissa::agent {
namespace {

constexpr std::size_t kMaxQuotedBytes = 240;

// The last line that is not blank. A trainer may have written any bytes, and the line travels in a string of protobuf.
std::string LastLine(std::string_view text) {
  const std::size_t end = text.find_last_not_of(" \r\n\t");
  if (end == std::string_view::npos) return "";
  text = text.substr(0, end + 1);
  const std::size_t begin = text.rfind('\n');
  if (begin != std::string_view::npos) text.remove_prefix(begin + 1);
  return process::Utf8Prefix(text, kMaxQuotedBytes);
}

}  // namespace

ExitReason ExplainExit(int wait_status, bool out_of_memory, std::string_view last_words) {
  ExitReason reason;
  if (out_of_memory) {
    reason.code = v1::Reason::OOM_KILLED;
    reason.message =
        "the kernel killed the trainer because the machine ran out of memory; ask for less, or for a "
        "worker with more (resources.memory_bytes)";
    return reason;
  }
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    // Signals that come from outside; the others are the trainer's own fault.
    const bool killed = signal == SIGKILL || signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
    reason.code = killed ? v1::Reason::KILLED : v1::Reason::CRASHED;
    reason.message = absl::StrCat("the trainer was ended by signal ", signal, " (", ::strsignal(signal), ")");
  } else {
    reason.message = absl::StrCat("the trainer exited with code ", WEXITSTATUS(wait_status));
  }
  if (const std::string line = LastLine(last_words); !line.empty()) absl::StrAppend(&reason.message, ": ", line);
  return reason;
}

}  // namespace mantissa::agent
