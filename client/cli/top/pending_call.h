// A unary call that nobody waits for.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "process/file_descriptor.h"
#include "process/mutex.h"

namespace mantissa::cli {

// Asks, and makes a descriptor readable when there is an answer to take. The destructor cancels the call. Used by one
// thread.
template <typename Request, typename Response>
class PendingCall {
 public:
  // Begins the call: the generated `async()` stub's method on these, which calls the function once it is over.
  using Start = std::function<void(grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>)>;

  PendingCall(Request request, const Start& start, std::chrono::milliseconds timeout)
      : ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), request_(std::move(request)) {
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
    start(&context_, &request_, &response_, [this](grpc::Status status) { Over(std::move(status)); });
  }

  ~PendingCall() {
    context_.TryCancel();
    process::MutexLock lock(mutex_);
    while (!status_) over_.Wait(mutex_);
  }
  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;

  // Readable once there is an answer.
  int fd() const { return ready_.get(); }

  // Nothing while the call goes on. response() is the answer to a call that ended well.
  std::optional<grpc::Status> status() {
    process::MutexLock lock(mutex_);
    return status_;
  }
  const Response& response() const { return response_; }

 private:
  void Over(grpc::Status status) {
    // All under the lock: whoever sees the end may destroy this.
    process::MutexLock lock(mutex_);
    status_ = std::move(status);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(ready_.get(), &one, sizeof(one));
    over_.NotifyAll();
  }

  const process::FileDescriptor ready_;
  grpc::ClientContext context_;
  const Request request_;
  Response response_;
  process::Mutex mutex_;
  process::CondVar over_;
  std::optional<grpc::Status> status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::cli
