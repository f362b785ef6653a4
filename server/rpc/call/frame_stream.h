#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/server_callback.h"

#include "process/mutex.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/open_calls.h"
#include "server/rpc/status.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

// A stream of frames to one client, made one at a time: Step runs on the blocking pool, if it may block, and says what
// comes next, the frame it made is written, and when the write is through it is asked again. So a stream holds at most
// one frame, and a client that does not read costs that and nothing more.
//
// Ends when Step says so, when the client goes, or when End is called; with a write under way, after it. Owns itself
// until gRPC is done with it; whoever may wake it later holds a reference.
//
// Thread-safe; Step has one caller at a time.
template <typename Frame>
class FrameStream : public grpc::ServerWriteReactor<Frame>,
                    public Wakeable,
                    public OpenCall,
                    public std::enable_shared_from_this<FrameStream<Frame>> {
 public:
  // Makes a stream and starts it.
  template <typename Stream, typename... Args>
  static Stream* Start(Args&&... args) {
    auto stream = std::make_shared<Stream>(std::forward<Args>(args)...);
    Stream* const self = stream.get();
    self->Begin(std::move(stream));
    return self;
  }

  // Look again; what a sleeping stream waits for.
  void Wake() override {
    {
      process::MutexLock lock(mutex_);
      woken_ = true;
      if (phase_ != Phase::kAsleep) return;
      phase_ = Phase::kStepping;
    }
    Post();
  }

  void End(const absl::Status& status) override {
    {
      process::MutexLock lock(mutex_);
      if (end_.ok()) end_ = status;
      if (phase_ != Phase::kAsleep) return;
      phase_ = Phase::kFinished;
    }
    FinishCounted(status);
  }

  void OnCancel() override { End(absl::CancelledError("the client has gone")); }

  void OnWriteDone(bool ok) override {
    absl::Status end;
    {
      process::MutexLock lock(mutex_);
      if (!ok && end_.ok()) end_ = absl::CancelledError("the client has gone");
      end = end_;
      phase_ = end.ok() ? Phase::kStepping : Phase::kFinished;
    }
    if (!end.ok()) {
      FinishCounted(end);
    } else if (MayBlock()) {
      Post();
    } else {
      Run();
    }
  }

  void OnDone() override {
    backend_.open_calls.Remove(self_);
    Closed();
    // The last reference may be this one; nothing of the object is used after it has gone.
    auto self = std::move(self_);
    (void)self;
  }

 protected:
  FrameStream(Backend& backend, const grpc::CallbackServerContext& context, std::string method)
      : backend_(backend),
        method_(std::move(method)),
        caller_(backend.access.Admit(context, method_, backend.clock.Now())) {}

  struct Sleep {};
  // A frame to send, nothing until woken, or the end of the stream (OK, too).
  using Next = std::variant<Frame, Sleep, absl::Status>;

  // May block. A wake that comes while it runs makes it run again before the stream sleeps.
  virtual Next Step() = 0;

  // Whether the next Step does anything but look at memory; what does not needs no other thread when a write is
  // through. Asked only between two steps.
  virtual bool MayBlock() { return true; }

  // gRPC is done: give back what was subscribed to.
  virtual void Closed() {}

  Backend& backend() { return backend_; }
  // In Step, which a stream that was not admitted never comes to.
  const Caller& caller() const { return *caller_; }

 private:
  enum class Phase { kStepping, kWriting, kAsleep, kFinished };

  void Begin(std::shared_ptr<FrameStream> self) {
    self_ = std::move(self);
    const absl::Status admitted = TakePlace();
    if (!admitted.ok()) {
      {
        process::MutexLock lock(mutex_);
        phase_ = Phase::kFinished;
      }
      FinishCounted(admitted);
      return;
    }
    Post();
  }

  absl::Status TakePlace() {
    if (!caller_.ok()) return caller_.status();
    absl::StatusOr<std::shared_ptr<void>> place = backend_.access.OpenStream(*caller_);
    if (!place.ok()) return place.status();
    place_ = *std::move(place);
    return backend_.open_calls.Add(self_);
  }

  // Whose token was taken back gets no more frames.
  Next StepIfHeld() {
    const absl::Status holds = backend_.access.StillHolds(*caller_);
    return holds.ok() ? Step() : Next(holds);
  }

  void Post() {
    backend_.pool.Post(caller_->tenant, [self = this->shared_from_this()] { self->Run(); });
  }

  void Run() {
    for (;;) {
      absl::Status end;
      {
        process::MutexLock lock(mutex_);
        woken_ = false;
        end = end_;
      }
      Next next = end.ok() ? StepIfHeld() : Next(end);
      if (Frame* frame = std::get_if<Frame>(&next)) {
        frame_ = std::move(*frame);
        {
          process::MutexLock lock(mutex_);
          phase_ = Phase::kWriting;
        }
        this->StartWrite(&frame_);
        return;
      }
      if (const absl::Status* status = std::get_if<absl::Status>(&next)) {
        {
          process::MutexLock lock(mutex_);
          phase_ = Phase::kFinished;
        }
        FinishCounted(*status);
        return;
      }
      process::MutexLock lock(mutex_);
      if (woken_ || !end_.ok()) continue;
      phase_ = Phase::kAsleep;
      return;
    }
  }

  void FinishCounted(const absl::Status& status) {
    backend_.rpc_metrics.Count(method_, CodeName(status.code()));
    this->Finish(ToGrpcStatus(status));
  }

  Backend& backend_;
  const std::string method_;
  absl::StatusOr<Caller> caller_;
  std::shared_ptr<void> place_;  // among the streams of its tenant
  std::shared_ptr<FrameStream> self_;
  Frame frame_;  // being written

  process::Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kStepping;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);  // not OK: ends with this
};

}  // namespace mantissa::server
