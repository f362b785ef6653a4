#include "process/stop_signal.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "process/clock.h"

namespace mantissa::process {
namespace {

// What the handler writes to; -1 while no StopSignal lives.
std::atomic<int> g_event{-1};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch lock-free atomics only");

void Announce(int event) {
  const std::uint64_t one = 1;
  // The one failure there is, a counter at its end, means that it is readable already.
  [[maybe_unused]] const ssize_t wrote = ::write(event, &one, sizeof(one));
}

void OnStop(int) {
  const int saved = errno;
  const int event = g_event.load(std::memory_order_relaxed);
  if (event >= 0) Announce(event);
  errno = saved;
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  int none = -1;
  if (!event_.valid() || !g_event.compare_exchange_strong(none, event_.get())) std::abort();
  Handle(SIGTERM, OnStop);
  Handle(SIGINT, OnStop);
  Handle(SIGPIPE, SIG_IGN);
}

StopSignal::~StopSignal() {
  Handle(SIGTERM, SIG_DFL);
  Handle(SIGINT, SIG_DFL);
  g_event.store(-1);
}

void StopSignal::Raise() { Announce(event_.get()); }

bool StopSignal::raised() const { return Wait(std::chrono::milliseconds(0)); }

bool StopSignal::Wait(std::optional<std::chrono::milliseconds> timeout) const {
  const RealClock clock;
  const SteadyTime start = clock.Now();
  for (;;) {
    int wait_ms = -1;
    if (timeout) {
      const auto left = *timeout - std::chrono::duration_cast<std::chrono::milliseconds>(clock.Now() - start);
      wait_ms = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, std::numeric_limits<int>::max()));
    }
    pollfd event = {event_.get(), POLLIN, 0};
    const int ready = ::poll(&event, 1, wait_ms);
    if (ready > 0) return true;
    if (ready == 0 && wait_ms != std::numeric_limits<int>::max()) return false;
    if (ready < 0 && errno != EINTR) std::abort();  // EFAULT, EINVAL, ENOMEM: nothing a caller could do
  }
}

}  // namespace mantissa::process
