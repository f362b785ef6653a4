#include "worker/agent/forward/work_thread.h"

#include <utility>

namespace mantissa::agent {

WorkThread::~WorkThread() {
  {
    process::MutexLock lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.NotifyAll();
  thread_.join();
}

void WorkThread::Post(Work work) {
  {
    process::MutexLock lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.NotifyOne();
}

void WorkThread::Run() {
  while (true) {
    Work work;
    {
      process::MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace mantissa::agent
