#include "server/rpc/call/blocking_pool.h"

#include <utility>

namespace mantissa::server {

using process::MutexLock;

BlockingPool::BlockingPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

BlockingPool::~BlockingPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void BlockingPool::Post(const std::string& tenant, std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    std::deque<std::function<void()>>& of_tenant = tasks_[tenant];
    if (of_tenant.empty()) turns_.push_back(tenant);
    of_tenant.push_back(std::move(task));
  }
  changed_.NotifyOne();
}

std::function<void()> BlockingPool::TakeTask() {
  std::string tenant = std::move(turns_.front());
  turns_.pop_front();
  const auto of_tenant = tasks_.find(tenant);
  std::function<void()> task = std::move(of_tenant->second.front());
  of_tenant->second.pop_front();
  if (of_tenant->second.empty()) {
    tasks_.erase(of_tenant);
  } else {
    turns_.push_back(std::move(tenant));
  }
  return task;
}

void BlockingPool::Work() {
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (turns_.empty() && !stopping_) changed_.Wait(mutex_);
      if (turns_.empty()) return;
      task = TakeTask();
    }
    task();
  }
}

}  // namespace mantissa::server
