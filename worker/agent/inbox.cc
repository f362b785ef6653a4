#include "worker/agent/inbox.h"

#include <cstdint>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace mantissa::agent {

Inbox::Inbox() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Inbox::Post(Action action) {
  {
    process::MutexLock lock(mutex_);
    actions_.push_back(std::move(action));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof(one));  // full: it is readable already
}

std::vector<Inbox::Action> Inbox::TakeAll() {
  // Cleared first: an action posted in between finds the event unset and sets it again.
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(event_.get(), &count, sizeof(count));
  process::MutexLock lock(mutex_);
  return std::exchange(actions_, {});
}

}  // namespace mantissa::agent
