#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "process/mutex.h"

namespace mantissa::server {

// A few threads for what may block: reads of the store, files of jobs. gRPC's own threads must not: one that blocks
// starves every other call. Each call or stream has at most one task here at a time, so the queue is bounded by them.
//
// Thread-safe. The destructor runs what was posted before it and then joins; what is posted later is dropped.
class BlockingPool {
 public:
  explicit BlockingPool(int threads = 4);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  void Post(std::function<void()> task);

 private:
  void Work();

  process::Mutex mutex_;
  process::CondVar changed_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mantissa::server
