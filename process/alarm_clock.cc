#include "process/alarm_clock.h"

namespace mantissa::process {

AlarmClock::AlarmClock() : thread_([this] { Run(); }) {}

AlarmClock::~AlarmClock() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

AlarmClock::Alarm AlarmClock::Set(SteadyTime at, std::function<void()> ring) {
  MutexLock lock(mutex_);
  const auto alarm = alarms_.emplace(Alarm(at, ++set_), std::move(ring)).first;
  // Most are set for later than those that are there, and then nobody has to get up.
  if (alarm == alarms_.begin()) changed_.NotifyAll();
  return alarm->first;
}

void AlarmClock::Cancel(const Alarm& alarm) {
  std::function<void()> dropped;  // what it holds may be long to let go
  MutexLock lock(mutex_);
  const auto found = alarms_.find(alarm);
  if (found == alarms_.end()) return;
  dropped = std::move(found->second);
  alarms_.erase(found);
}

void AlarmClock::Run() {
  while (true) {
    std::function<void()> ring;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && (alarms_.empty() || alarms_.begin()->first.first > std::chrono::steady_clock::now())) {
        changed_.WaitUntil(mutex_, alarms_.empty() ? SteadyTime::max() : alarms_.begin()->first.first);
      }
      if (stopping_) return;
      ring = std::move(alarms_.begin()->second);
      alarms_.erase(alarms_.begin());
    }
    ring();
  }
}

}  // namespace mantissa::process
