// A stream to the server that is opened again whenever it ends, for as long as it is wanted.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"

#include "process/clock.h"
#include "worker/agent/backoff.h"
#include "worker/agent/inbox.h"
#include "worker/agent/link/server_link.h"

namespace mantissa::agent {

// One write in flight; reconnects with backoff; turns what the stream says on other threads into calls on the agent's.
// The inbox must not run its actions after this is destroyed. Not thread-safe.
template <class Request, class Response>
class StandingStream {
 public:
  using Opener = std::function<std::unique_ptr<Stream<Request>>(StreamEvents<Response>)>;

  struct Handlers {
    std::function<void()> opened;  // nothing that was sent before counts as sent
    std::function<void(const Response&)> received;
    std::function<void(const absl::Status&)> closed;
  };

  StandingStream(Opener opener, Handlers handlers, Inbox& inbox)
      : opener_(std::move(opener)), handlers_(std::move(handlers)), inbox_(inbox) {}

  // Opens or lets go, as `wanted` says and the backoff allows.
  void Tick(bool wanted, process::SteadyTime now) {
    if (!wanted) {
      Drop();
      return;
    }
    if (stream_ != nullptr) return;
    if (lost_) {
      lost_ = false;
      open_at_ = now + backoff_.Next();
    }
    if (now < open_at_) return;
    const std::uint64_t generation = ++generation_;
    writing_ = false;
    stream_ = opener_(StreamEvents<Response>{
        // On other threads, perhaps after this is gone: only the inbox may be touched there.
        .written = [this, &inbox = inbox_, generation] { inbox.Post([this, generation] { OnWritten(generation); }); },
        .received =
            [this, &inbox = inbox_, generation](Response response) {
              inbox.Post([this, generation, response = std::move(response)] { OnReceived(generation, response); });
            },
        .closed =
            [this, &inbox = inbox_, generation](absl::Status status) {
              inbox.Post([this, generation, status = std::move(status)] { OnClosed(generation, status); });
            }});
    handlers_.opened();
  }

  // A write may be made now.
  bool Ready() const { return stream_ != nullptr && !writing_; }

  void Write(const Request& request) {
    writing_ = true;
    stream_->Write(request);
  }

  bool open() const { return stream_ != nullptr; }

  // When Tick has to be called for a new try; max() for never.
  process::SteadyTime NextDeadline(bool wanted) const {
    if (!wanted || stream_ != nullptr) return process::SteadyTime::max();
    return lost_ ? process::SteadyTime::min() : open_at_;
  }

 private:
  void OnWritten(std::uint64_t generation) {
    if (generation == generation_) writing_ = false;
  }
  void OnReceived(std::uint64_t generation, const Response& response) {
    if (generation != generation_ || stream_ == nullptr) return;
    backoff_.Reset();
    handlers_.received(response);
  }
  void OnClosed(std::uint64_t generation, const absl::Status& status) {
    if (generation != generation_ || stream_ == nullptr) return;
    stream_.reset();
    lost_ = true;
    handlers_.closed(status);
  }
  void Drop() {
    stream_.reset();
    ++generation_;  // what it still says is nobody's
    lost_ = false;
  }

  const Opener opener_;
  const Handlers handlers_;
  Inbox& inbox_;
  std::unique_ptr<Stream<Request>> stream_;
  std::uint64_t generation_ = 0;
  bool writing_ = false;
  bool lost_ = false;
  Backoff backoff_{std::chrono::milliseconds(200), std::chrono::milliseconds(1'000)};
  process::SteadyTime open_at_ = process::SteadyTime::min();
};

}  // namespace mantissa::agent
