// A device that is this very process: what is recorded is kept, and run when it is launched.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "worker/trainer/device_api.h"

struct MantissaGraph {
  MantissaWork work = nullptr;
  void* context = nullptr;
};

namespace mantissa::trainer {

// One at a time. Its settings are changed while nothing is in flight.
class FakeRecorder {
 public:
  // kAtOnce: a launch returns when its work is done. kLater: work is done by a thread, in the order of its launches.
  enum class Pace { kAtOnce, kLater };

  explicit FakeRecorder(Pace pace = Pace::kAtOnce) : pace_(pace) {
    EXPECT_EQ(instance_, nullptr);
    instance_ = this;
    if (pace_ == Pace::kLater) thread_ = std::thread([this] { RunLaunched(); });
  }
  ~FakeRecorder() {
    if (thread_.joinable()) {
      {
        const std::lock_guard lock(mutex_);
        over_ = true;
      }
      changed_.notify_all();
      thread_.join();
    }
    EXPECT_TRUE(graphs_.empty()) << "a graph was not forgotten";
    EXPECT_TRUE(mapped_.empty()) << "memory was not unmapped";
    instance_ = nullptr;
  }
  FakeRecorder(const FakeRecorder&) = delete;
  FakeRecorder& operator=(const FakeRecorder&) = delete;

  const MantissaRecorder& functions() const {
    static const MantissaRecorder functions = {Record, Launch, PoolBytes, Forget, MapMemory, UnmapMemory, Poll};
    return functions;
  }

  int records() const { return records_; }
  int launches() const { return launches_; }
  unsigned char* mapped() const { return static_cast<unsigned char*>(*mapped_.begin()); }

  int recordings_that_work = 1000;                  // later ones are refused
  bool busy = false;                                // with work that was not launched here
  bool works = true;                                // else it loses what is launched
  std::int64_t pool_bytes = std::int64_t{3} << 20;  // of each graph
  std::string launch_error;
  std::string memory_error;
  std::string failure;  // of the device
  std::function<void()> after_work;

 private:
  static std::int32_t Refuse(const std::string& why, char* error, std::int64_t error_size) {
    std::snprintf(error, static_cast<std::size_t>(error_size), "%s", why.c_str());
    return 1;
  }

  static std::int32_t Record(MantissaWork work, void* context, MantissaGraph*, MantissaGraph** graph, char* error,
                             std::int64_t error_size) {
    if (instance_->records_ == instance_->recordings_that_work) return Refuse("no more graphs", error, error_size);
    ++instance_->records_;
    *graph = new MantissaGraph{work, context};
    instance_->graphs_.insert(*graph);
    return 0;
  }

  static std::int32_t Launch(MantissaGraph* graph, char* error, std::int64_t error_size) {
    FakeRecorder& self = *instance_;
    if (!self.launch_error.empty()) return Refuse(self.launch_error, error, error_size);
    ++self.launches_;
    if (!self.works) return 0;
    if (self.pace_ == Pace::kAtOnce) {
      EXPECT_EQ(graph->work(graph->context), 0);
      if (self.after_work) self.after_work();
      return 0;
    }
    {
      const std::lock_guard lock(self.mutex_);
      self.launched_.push_back(graph);
    }
    self.changed_.notify_all();
    return 0;
  }

  static std::int64_t PoolBytes(const MantissaGraph*) { return instance_->pool_bytes; }

  static void Forget(MantissaGraph* graph) {
    EXPECT_EQ(instance_->graphs_.erase(graph), 1u);
    delete graph;
  }

  static std::int32_t MapMemory(std::int64_t bytes, void** host, void** device, char* error, std::int64_t error_size) {
    if (!instance_->memory_error.empty()) return Refuse(instance_->memory_error, error, error_size);
    *host = *device = std::calloc(static_cast<std::size_t>(bytes), 1);
    instance_->mapped_.insert(*host);
    return 0;
  }

  static void UnmapMemory(void* host) {
    EXPECT_EQ(instance_->mapped_.erase(host), 1u);
    std::free(host);
  }

  static std::int32_t Poll(char* error, std::int64_t error_size) {
    FakeRecorder& self = *instance_;
    if (!self.failure.empty()) {
      Refuse(self.failure, error, error_size);
      return 2;
    }
    const std::lock_guard lock(self.mutex_);
    return self.launched_.empty() && !self.busy ? 0 : 1;
  }

  void RunLaunched() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return over_ || !launched_.empty(); });
      if (launched_.empty()) return;
      const MantissaGraph graph = *launched_.front();
      lock.unlock();
      EXPECT_EQ(graph.work(graph.context), 0);
      lock.lock();
      launched_.pop_front();
    }
  }

  static inline FakeRecorder* instance_ = nullptr;

  const Pace pace_;
  int records_ = 0;
  int launches_ = 0;
  std::set<MantissaGraph*> graphs_;
  std::set<void*> mapped_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<MantissaGraph*> launched_;  // by mutex_
  bool over_ = false;                    // by mutex_
  std::thread thread_;
};

}  // namespace mantissa::trainer
