// One streaming call, read by a thread of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>

#include "process/file_descriptor.h"
#include "process/mutex.h"

namespace mantissa::cli {

// Reads frames as they come, holds a bounded number of them, and makes a descriptor readable when there is something to
// take. The destructor cancels the call. Take() and the destructor belong to one thread.
template <typename Frame>
class StreamReader {
 public:
  // `start` begins the call.
  using Start = std::function<std::unique_ptr<grpc::ClientReader<Frame>>(grpc::ClientContext*)>;
  explicit StreamReader(const Start& start)
      : ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), reader_(start(&context_)), thread_([this] { ReadAll(); }) {}

  ~StreamReader() {
    {
      process::MutexLock lock(mutex_);
      stopping_ = true;
    }
    taken_.NotifyAll();
    context_.TryCancel();
    thread_.join();
  }
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // Readable when Take() has something new.
  int fd() const { return ready_.get(); }

  struct Batch {
    std::vector<Frame> frames;
    // The call is over and everything was taken.
    std::optional<grpc::Status> end;
  };

  Batch Take() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(ready_.get(), &count, sizeof(count));
    Batch batch;
    {
      process::MutexLock lock(mutex_);
      for (Frame& frame : frames_) batch.frames.push_back(std::move(frame));
      frames_.clear();
      batch.end = end_;
    }
    taken_.NotifyAll();
    return batch;
  }

 private:
  static constexpr std::size_t kMaxFrames = 256;

  void Announce() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(ready_.get(), &one, sizeof(one));
  }

  void ReadAll() {
    Frame frame;
    while (reader_->Read(&frame)) {
      {
        process::MutexLock lock(mutex_);
        while (frames_.size() >= kMaxFrames && !stopping_) taken_.Wait(mutex_);
        if (stopping_) break;
        frames_.push_back(std::move(frame));
      }
      frame = {};
      Announce();
    }
    const grpc::Status status = reader_->Finish();
    {
      process::MutexLock lock(mutex_);
      end_ = status;
    }
    Announce();
  }

  const process::FileDescriptor ready_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReader<Frame>> reader_;
  process::Mutex mutex_;
  process::CondVar taken_;
  std::deque<Frame> frames_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::cli
