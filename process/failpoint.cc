#include "process/failpoint.h"

#include <cstdio>
#include <cstdlib>
#include <set>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mantissa::process {
namespace {

constexpr std::uint32_t kMaxSleepMs = 600'000;

absl::Status BadEntry(absl::string_view entry) {
  return absl::InvalidArgumentError(absl::StrCat(
      "failpoint '", entry, "': write name=crash, name=error or name=sleep_ms(N), and :N for the Nth hit"));
}

std::string_view EnvironmentText() {
  const char* text = std::getenv("MANTISSA_FAILPOINTS");
  return text == nullptr ? "" : text;
}

// Filled before main begins, in no particular order.
std::set<std::string, std::less<>>& Names() {
  static std::set<std::string, std::less<>>& names = *new std::set<std::string, std::less<>>;
  return names;
}

FailpointSet& FromEnvironment() {
  static FailpointSet& set = [&]() -> FailpointSet& {
    absl::StatusOr<FailpointSet::Actions> actions = FailpointSet::Parse(EnvironmentText());
    if (!actions.ok()) {
      std::fprintf(stderr, "MANTISSA_FAILPOINTS: %s\n", std::string(actions.status().message()).c_str());
      std::abort();
    }
    // Never destroyed: a thread may pass a failpoint while the process ends.
    return *new FailpointSet(*std::move(actions));
  }();
  return set;
}

}  // namespace

absl::StatusOr<FailpointSet::Actions> FailpointSet::Parse(std::string_view text) {
  Actions actions;
  for (absl::string_view entry : absl::StrSplit(absl::string_view(text.data(), text.size()), ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(parts.first);
    const std::vector<absl::string_view> action = absl::StrSplit(absl::StripAsciiWhitespace(parts.second), ':');
    if (name.empty() || action.empty() || action.size() > 2) return BadEntry(entry);
    FailpointAction parsed;
    absl::string_view sleep = action[0];
    if (action[0] == "crash") {
      parsed.kind = FailpointAction::Kind::kCrash;
    } else if (action[0] == "error") {
      parsed.kind = FailpointAction::Kind::kError;
    } else if (absl::ConsumePrefix(&sleep, "sleep_ms(") && absl::ConsumeSuffix(&sleep, ")")) {
      std::uint32_t milliseconds = 0;
      if (!absl::SimpleAtoi(sleep, &milliseconds) || milliseconds > kMaxSleepMs) return BadEntry(entry);
      parsed.kind = FailpointAction::Kind::kSleep;
      parsed.sleep = std::chrono::milliseconds(milliseconds);
    } else {
      return BadEntry(entry);
    }
    if (action.size() == 2 && (!absl::SimpleAtoi(action[1], &parsed.at_hit) || parsed.at_hit == 0)) {
      return BadEntry(entry);
    }
    actions[std::string(name)].push_back(parsed);
  }
  return actions;
}

std::optional<FailpointAction> FailpointSet::Hit(std::string_view name) {
  const auto entries = actions_.find(name);
  if (entries == actions_.end()) return std::nullopt;
  std::uint64_t hit = 0;
  {
    MutexLock lock(mutex_);
    hit = ++hits_.try_emplace(std::string(name), 0).first->second;
  }
  for (const FailpointAction& action : entries->second) {
    if (action.at_hit == 0 || action.at_hit == hit) return action;
  }
  return std::nullopt;
}

absl::Status HitFailpoint(std::string_view name) {
  const std::optional<FailpointAction> action = FromEnvironment().Hit(name);
  if (!action) return absl::OkStatus();
  switch (action->kind) {
    case FailpointAction::Kind::kCrash:
      ::kill(::getpid(), SIGKILL);
      std::abort();  // not reached
    case FailpointAction::Kind::kSleep:
      std::this_thread::sleep_for(action->sleep);
      return absl::OkStatus();
    case FailpointAction::Kind::kError:
      return absl::InternalError(absl::StrCat("failpoint '", std::string(name), "'"));
  }
  return absl::OkStatus();
}

const char* AddFailpoint(const char* name) {
  Names().emplace(name);
  return name;
}

absl::Status CheckFailpoints() {
  const auto refuse = [](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("MANTISSA_FAILPOINTS: ", why, "; this program has ", absl::StrJoin(Names(), ", ")));
  };
  if (EnvironmentText() == "help") return refuse("no program runs with `help`");
  absl::StatusOr<FailpointSet::Actions> actions = FailpointSet::Parse(EnvironmentText());
  if (!actions.ok()) return refuse(actions.status().message());
  for (const auto& [name, unused] : *actions) {
    if (!Names().contains(name)) return refuse(absl::StrCat("there is no failpoint '", name, "'"));
  }
  return absl::OkStatus();
}

}  // namespace mantissa::process
