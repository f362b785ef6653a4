// When a stream that was lost is begun again.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

#include "process/clock.h"

namespace mantissa::cli {

// Waits longer from loss to loss, up to two seconds, until something is heard again. Pure. Not thread-safe.
class Reconnect {
 public:
  // `retry_after`: what the server asked for.
  void Lost(process::SteadyTime now, std::optional<std::chrono::milliseconds> retry_after) {
    if (!lost_since_) lost_since_ = now;
    backoff_ = std::clamp(2 * backoff_, kFirstBackoff, kMaxBackoff);
    at_ = now + std::max(backoff_, std::min(retry_after.value_or(backoff_), kMaxBackoff));
  }

  void Heard() {
    lost_since_.reset();
    backoff_ = kFirstBackoff;
  }

  // Without a wait, for what is no fault of the server.
  void AtOnce(process::SteadyTime now) { at_ = now; }

  process::SteadyTime at() const { return at_; }
  std::optional<process::SteadyTime> lost_since() const { return lost_since_; }

  // For the reader; nothing while the connection is well. `comfort` is what need not worry them.
  std::optional<std::string> Notice(process::SteadyTime now, const std::string& address,
                                    const std::string& comfort) const {
    if (!lost_since_) return std::nullopt;
    const auto away = std::chrono::duration_cast<std::chrono::seconds>(now - *lost_since_);
    return absl::StrCat("the server at ", address, " has not answered for ", away.count(), " s; trying again", comfort);
  }

 private:
  static constexpr std::chrono::milliseconds kFirstBackoff{200};
  static constexpr std::chrono::milliseconds kMaxBackoff{2000};

  std::optional<process::SteadyTime> lost_since_;
  process::SteadyTime at_{};
  std::chrono::milliseconds backoff_{0};
};

}  // namespace mantissa::cli
