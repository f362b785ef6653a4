// A worker that trains nothing, over a connection of its own: it speaks Synchronize as the real agent does
// (worker/agent/sync_loop.h), and says of what it is given that it runs, and when it is told to, that it has succeeded.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <grpcpp/channel.h>

#include "mantissa/v1/worker_service.grpc.pb.h"

namespace mantissa::bench {

[[noreturn]] void Die(const std::string& what);

// The settings of worker/agent/link/grpc_server_link.cc, so that pings cost the server what they do cost it.
// `fixed_windows`: they don't grow with the bandwidth, so that a stream that nobody reads is full at once.
std::shared_ptr<grpc::Channel> Connect(const std::string& address, bool fixed_windows = false);

// Thread-safe. Calls that hang are left behind: the process ends with std::_Exit.
class FakeWorker {
 public:
  using Clock = std::chrono::steady_clock;

  struct Events {
    // Whether it has succeeded at once.
    std::function<bool(const v1::AttemptRef&, Clock::time_point)> assigned;
    std::function<void()> forgotten = [] {};
  };

  FakeWorker(const std::string& address, int number, Events events);

  void Start();
  // Of the attempt that it was given.
  void Succeed();
  bool answered() const;

 private:
  struct Call;

  // A call with the whole present state; one that still hangs is superseded. Under mutex_.
  void Report();
  void Answered(const Call& call, const grpc::Status& status);

  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const Events events_;
  mutable std::mutex mutex_;
  v1::SynchronizeRequest report_;  // the newest, with what has changed since
  bool answered_ = false;
};

}  // namespace mantissa::bench
