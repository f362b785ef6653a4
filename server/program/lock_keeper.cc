#include "server/program/lock_keeper.h"

#include <chrono>
#include <utility>

namespace mantissa::server {
namespace {

constexpr std::chrono::milliseconds kLookInterval{100};
constexpr int kLooksAPing = 10;

}  // namespace

LockKeeper::LockKeeper(ActiveLock& lock, std::function<void(const absl::Status&)> on_lost)
    : lock_(lock), on_lost_(std::move(on_lost)), thread_([this] { Run(); }) {}

LockKeeper::~LockKeeper() {
  {
    process::MutexLock held(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void LockKeeper::Run() {
  for (int looks = 1;; ++looks) {
    {
      process::MutexLock held(mutex_);
      if (!stopping_) changed_.WaitFor(mutex_, kLookInterval);
      if (stopping_) return;
    }
    // A session that PostgreSQL has ended is seen at once, because the lock is another's at once; silence takes a ping.
    const bool ask = looks % kLooksAPing == 0 || !lock_.SessionOpen();
    const absl::Status kept = ask ? lock_.Ping() : absl::OkStatus();
    if (!kept.ok()) return on_lost_(kept);
  }
}

}  // namespace mantissa::server
