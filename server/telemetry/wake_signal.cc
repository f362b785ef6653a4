#include "server/telemetry/wake_signal.h"

#include <algorithm>
#include <utility>

namespace mantissa::server {

using process::MutexLock;

WakeSignal::Subscription::Subscription(WakeSignal& signal, std::string name, std::shared_ptr<Wakeable> sleeper)
    : signal_(signal), name_(std::move(name)), sleeper_(std::move(sleeper)) {
  MutexLock lock(signal_.mutex_);
  std::shared_ptr<const Sleepers>& sleepers = signal_.sleepers_[name_];
  auto more = sleepers ? std::make_shared<Sleepers>(*sleepers) : std::make_shared<Sleepers>();
  more->push_back(sleeper_);
  sleepers = std::move(more);
}

WakeSignal::Subscription::~Subscription() {
  MutexLock lock(signal_.mutex_);
  const auto found = signal_.sleepers_.find(name_);
  auto fewer = std::make_shared<Sleepers>(*found->second);
  fewer->erase(std::find(fewer->begin(), fewer->end(), sleeper_));
  if (fewer->empty()) {
    signal_.sleepers_.erase(found);
  } else {
    found->second = std::move(fewer);
  }
}

void WakeSignal::Notify(const std::string& name) {
  std::shared_ptr<const Sleepers> sleepers;
  {
    MutexLock lock(mutex_);
    const auto found = sleepers_.find(name);
    if (found == sleepers_.end()) return;
    sleepers = found->second;
  }
  for (const std::shared_ptr<Wakeable>& sleeper : *sleepers) sleeper->Wake();
}

}  // namespace mantissa::server
