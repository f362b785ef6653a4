// Who wants to know when something about a job, or a worker, has changed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "process/mutex.h"

namespace mantissa::server {

// Something that sleeps until it is woken. Wake returns quickly, may be called from any thread, too often, and after
// whoever is woken has ended: it says "look again", not what has changed.
class Wakeable {
 public:
  virtual ~Wakeable() = default;
  virtual void Wake() = 0;
};

// Sleepers by the name of what they wait for. Thread-safe.
class WakeSignal {
 public:
  // Ends the subscription when it goes; a Wake that has begun may still arrive.
  class Subscription {
   public:
    Subscription(WakeSignal& signal, std::string name, std::shared_ptr<Wakeable> sleeper);
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

   private:
    WakeSignal& signal_;
    const std::string name_;
    const std::shared_ptr<Wakeable> sleeper_;
  };

  // Wakes every subscriber of `name`.
  void Notify(const std::string& name);

 private:
  // Copied when somebody comes or goes, so that Notify, the frequent one, only takes a reference.
  using Sleepers = std::vector<std::shared_ptr<Wakeable>>;

  mutable process::Mutex mutex_;
  std::map<std::string, std::shared_ptr<const Sleepers>, std::less<>> sleepers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
