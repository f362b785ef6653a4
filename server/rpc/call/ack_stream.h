#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"

#include "process/mutex.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/open_calls.h"
#include "server/rpc/status.h"

namespace mantissa::server {

// A stream of batches up and acknowledgements down. A few batches are handled at a time, so that those that come while
// one is made durable become so together; beyond them the next is read when one is done, and what a client may have in
// flight is bounded by the transport's window. One acknowledgement is written at a time; of those that wait, the newest
// for each subject counts.
//
// Owns itself until gRPC is done with it. Thread-safe; Handle has one caller at a time.
template <typename Request, typename Response>
class AckStream : public grpc::ServerBidiReactor<Request, Response>,
                  public OpenCall,
                  public std::enable_shared_from_this<AckStream<Request, Response>> {
 public:
  template <typename Stream, typename... Args>
  static Stream* Start(Args&&... args) {
    auto stream = std::make_shared<Stream>(std::forward<Args>(args)...);
    Stream* const self = stream.get();
    self->Begin(std::move(stream));
    return self;
  }

  void End(const absl::Status& status) override {
    {
      process::MutexLock lock(mutex_);
      if (end_.ok()) end_ = status;
    }
    GoOn();
  }

  void OnCancel() override { End(absl::CancelledError("the client has gone")); }

  void OnReadDone(bool ok) override {
    {
      process::MutexLock lock(mutex_);
      if (ok) {
        ++handling_;
      } else {
        no_more_ = true;
      }
    }
    if (ok) Handle(std::exchange(request_, std::make_shared<Request>()));
    {
      // Only now may the next be read: it is handled after this one.
      process::MutexLock lock(mutex_);
      reading_ = false;
    }
    GoOn();
  }

  void OnWriteDone(bool ok) override {
    {
      process::MutexLock lock(mutex_);
      writing_ = false;
      if (!ok && end_.ok()) end_ = absl::CancelledError("the client has gone");
    }
    GoOn();
  }

  void OnDone() override {
    backend_.open_calls.Remove(self_);
    auto self = std::move(self_);
    (void)self;
  }

 protected:
  AckStream(Backend& backend, const grpc::CallbackServerContext& context, std::string method, int max_handling)
      : backend_(backend),
        method_(std::move(method)),
        max_handling_(max_handling),
        refusal_(backend.access.Admit(context, method_, backend.clock.Now()).status()) {}

  // Starts what `request` asks for, without blocking, and calls Handled or Failed when it is done, from any thread.
  virtual void Handle(std::shared_ptr<Request> request) = 0;

  // `subject` is what a later acknowledgement takes the place of.
  void Handled(const std::string& subject, Response response) {
    {
      process::MutexLock lock(mutex_);
      --handling_;
      waiting_[subject] = std::move(response);
    }
    GoOn();
  }

  // Ends the stream.
  void Failed(const absl::Status& status) {
    {
      process::MutexLock lock(mutex_);
      --handling_;
      if (end_.ok()) end_ = status;
    }
    GoOn();
  }

  Backend& backend() { return backend_; }

 private:
  void Begin(std::shared_ptr<AckStream> self) {
    self_ = std::move(self);
    // Said at once, so that a client that waits for the first word knows that the stream stands.
    this->StartSendInitialMetadata();
    const absl::Status admitted = refusal_.ok() ? backend_.open_calls.Add(self_) : refusal_;
    if (!admitted.ok()) {
      End(admitted);
    } else {
      GoOn();
    }
  }

  // Starts whatever can be started now. Operations are started outside the lock, each by the one thread that claimed it
  // under the lock.
  void GoOn() {
    bool read = false, write = false, finish = false;
    absl::Status end;
    {
      process::MutexLock lock(mutex_);
      if (finished_) return;
      const bool over = !end_.ok() || (no_more_ && waiting_.empty());
      if (over && handling_ == 0 && !writing_ && starting_ == 0) {
        finish = finished_ = true;
        end = end_;
      } else if (end_.ok()) {
        if (!reading_ && handling_ < max_handling_ && !no_more_) {
          read = reading_ = true;
          ++starting_;
        }
        if (!writing_ && !waiting_.empty()) {
          write = writing_ = true;
          response_ = std::move(waiting_.begin()->second);
          waiting_.erase(waiting_.begin());
        }
      }
    }
    if (read) this->StartRead(request_.get());
    if (write) this->StartWrite(&response_);
    if (finish) {
      backend_.rpc_metrics.Count(method_, CodeName(end.code()));
      this->Finish(ToGrpcStatus(end));
    }
    if (read) Started();
  }

  // The stream may have come to its end while the read was started.
  void Started() {
    {
      process::MutexLock lock(mutex_);
      --starting_;
    }
    GoOn();
  }

  Backend& backend_;
  const std::string method_;
  const int max_handling_;
  const absl::Status refusal_;  // OK: admitted
  std::shared_ptr<AckStream> self_;
  std::shared_ptr<Request> request_ = std::make_shared<Request>();  // being read
  Response response_;                                               // being written

  process::Mutex mutex_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;  // until Handle has returned
  int handling_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool no_more_ ABSL_GUARDED_BY(mutex_) = false;  // the client has said its last
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  // Reads that are about to be started: gRPC may let go of a stream that is finished before they are.
  int starting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Response> waiting_ ABSL_GUARDED_BY(mutex_);
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
