#include "tests/fuzz/hang_guard.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>
#include <unistd.h>

namespace mantissa::fuzz {
namespace {

constexpr time_t kMostSeconds = 1;

void OnHang(int) {
  constexpr std::string_view kText = "HANG: more than 1 s of processor time for one input\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText.data(), kText.size());
  std::abort();
}

timer_t MakeTimer() {
  std::signal(SIGUSR1, &OnHang);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  timer_t timer{};
  if (::timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0) std::abort();
  return timer;
}

void Set(time_t seconds) {
  static const timer_t timer = MakeTimer();
  itimerspec at{};
  at.it_value.tv_sec = seconds;
  if (::timer_settime(timer, 0, &at, nullptr) != 0) std::abort();
}

}  // namespace

HangGuard::HangGuard() { Set(kMostSeconds); }
HangGuard::~HangGuard() { Set(0); }

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "BROKEN: %s\n", what);
  std::abort();
}

}  // namespace mantissa::fuzz
