#include "client/cli/watch/watch_stream.h"

#include <cstdint>
#include <sys/eventfd.h>
#include <unistd.h>

namespace mantissa::cli {
namespace {

void Announce(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t wrote = ::write(fd, &one, sizeof(one));
}

}  // namespace

WatchStream::WatchStream(Connection& connection, const v1::WatchJobRequest& request)
    : ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      reader_(connection.jobs().WatchJob(&context_, request)),
      thread_([this] { ReadAll(); }) {}

WatchStream::~WatchStream() {
  {
    process::MutexLock lock(mutex_);
    stopping_ = true;
  }
  taken_.NotifyAll();
  context_.TryCancel();
  thread_.join();
}

void WatchStream::ReadAll() {
  v1::WatchJobResponse frame;
  while (reader_->Read(&frame)) {
    {
      process::MutexLock lock(mutex_);
      while (frames_.size() >= kMaxFrames && !stopping_) taken_.Wait(mutex_);
      if (stopping_) break;
      frames_.push_back(std::move(frame));
    }
    frame = {};
    Announce(ready_.get());
  }
  const grpc::Status status = reader_->Finish();
  {
    process::MutexLock lock(mutex_);
    end_ = status;
  }
  Announce(ready_.get());
}

WatchStream::Batch WatchStream::Take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(ready_.get(), &count, sizeof(count));
  Batch batch;
  {
    process::MutexLock lock(mutex_);
    for (v1::WatchJobResponse& frame : frames_) batch.frames.push_back(std::move(frame));
    frames_.clear();
    batch.end = end_;
  }
  taken_.NotifyAll();
  return batch;
}

}  // namespace mantissa::cli
