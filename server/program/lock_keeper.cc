#include "server/program/lock_keeper.h"

#include <chrono>
#include <optional>
#include <utility>

namespace mantissa::server {
namespace {

constexpr std::chrono::milliseconds kLookInterval{100};
constexpr int kLooksAPing = 10;

}  // namespace

LockKeeper::LockKeeper(ActiveLock& lock, std::function<void(const absl::Status&)> on_lost)
    : lock_(lock),
      on_lost_(std::move(on_lost)),
      thread_([this] { return Look() ? std::optional(kLookInterval) : std::nullopt; }) {}

bool LockKeeper::Look() {
  // A session that PostgreSQL has ended is seen at once, because the lock is another's at once; silence takes a ping.
  const bool ask = ++looks_ % kLooksAPing == 0 || !lock_.SessionOpen();
  const absl::Status kept = ask ? lock_.Ping() : absl::OkStatus();
  if (!kept.ok()) on_lost_(kept);
  return kept.ok();
}

}  // namespace mantissa::server
