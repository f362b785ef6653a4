#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "process/mutex.h"

namespace mantissa::server {

// A few threads for what may block: reads of the store, files of jobs. gRPC's own threads must not: one that blocks
// starves every other call. Each call or stream has at most one task here at a time, so the queues are bounded by them.
// Tenants take turns, so that whoever asks for little waits for one task of each of the others and not for a thousand
// of one.
//
// Thread-safe. The destructor runs what was posted before it and then joins; what is posted later is dropped.
class BlockingPool {
 public:
  explicit BlockingPool(int threads = 4);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // `tenant` is whose turn it takes; empty for workers and for the server itself. Tasks of one are begun in order.
  void Post(const std::string& tenant, std::function<void()> task);

 private:
  void Work();
  std::function<void()> TakeTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  process::Mutex mutex_;
  process::CondVar changed_;
  // Of every tenant that has tasks, and the order in which these take turns.
  std::unordered_map<std::string, std::deque<std::function<void()>>> tasks_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mantissa::server
