// Named places in the code where a test can make a program die, fail or wait.
//
//   MANTISSA_FAILPOINT("store.before_commit");                             // may crash or sleep here
//   if (auto failed = MANTISSA_FAILPOINT_STATUS("store.write"); !failed.ok()) return failed;
//
// Built only where MANTISSA_FAILPOINTS is defined; elsewhere they cost nothing. The environment variable of the same
// name says what they do, entries separated by commas:
//
//   MANTISSA_FAILPOINTS="store.before_commit=crash:17,store.write=error,frame.read=sleep_ms(50):1"
//
// `crash` sends SIGKILL to the process itself, `error` makes MANTISSA_FAILPOINT_STATUS return INTERNAL, `sleep_ms(N)`
// waits. `:N` acts at the Nth hit of that name only (from 1); without it, at every hit. A name may have several
// entries. A fault test that injects nothing proves nothing: text that can't be parsed ends the process at the first
// hit, and a program that begins with MANTISSA_FAILPOINTS_STATUS() also refuses names that it does not have, and tells
// those that it has, as it does for the text `help`.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/mutex.h"

namespace mantissa::process {

struct FailpointAction {
  enum class Kind { kCrash, kError, kSleep };
  Kind kind = Kind::kError;
  std::chrono::milliseconds sleep{0};
  std::uint64_t at_hit = 0;  // 0: every hit
};

// What is configured, and how often each name was hit. Thread-safe.
class FailpointSet {
 public:
  using Actions = std::map<std::string, std::vector<FailpointAction>, std::less<>>;

  explicit FailpointSet(Actions actions) : actions_(std::move(actions)) {}

  static absl::StatusOr<Actions> Parse(std::string_view text);

  // Counts a hit and says what to do about it.
  std::optional<FailpointAction> Hit(std::string_view name);

 private:
  const Actions actions_;
  Mutex mutex_;
  std::map<std::string, std::uint64_t, std::less<>> hits_ ABSL_GUARDED_BY(mutex_);
};

// Acts as the environment says. What the macros call.
absl::Status HitFailpoint(std::string_view name);

// INVALID_ARGUMENT: the environment's text says nothing that this program can do.
absl::Status CheckFailpoints();

// Returns the name, which this program has from now on.
const char* AddFailpoint(const char* name);

template <std::size_t kSize>
struct FailpointName {
  consteval FailpointName(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }
  char text[kSize];
};

// A template of its name, so that a program knows all that are compiled into it before it passes the first.
template <FailpointName kName>
struct Failpoint {
  static absl::Status Hit() { return HitFailpoint(name); }
  static inline const char* const name = AddFailpoint(kName.text);
};

}  // namespace mantissa::process

#ifdef MANTISSA_FAILPOINTS
#define MANTISSA_FAILPOINT(name) ::mantissa::process::Failpoint<name>::Hit().IgnoreError()
#define MANTISSA_FAILPOINT_STATUS(name) ::mantissa::process::Failpoint<name>::Hit()
#define MANTISSA_FAILPOINTS_STATUS() ::mantissa::process::CheckFailpoints()
#else
#define MANTISSA_FAILPOINT(name) static_cast<void>(0)
#define MANTISSA_FAILPOINT_STATUS(name) ::absl::OkStatus()
#define MANTISSA_FAILPOINTS_STATUS() ::absl::OkStatus()
#endif
