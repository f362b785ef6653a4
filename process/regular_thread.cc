#include "process/regular_thread.h"

#include <utility>

namespace mantissa::process {

RegularThread::RegularThread(std::function<std::optional<std::chrono::milliseconds>()> work)
    : work_(std::move(work)), thread_([this] { Run(); }) {}

RegularThread::~RegularThread() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    stopped_.NotifyAll();
  }
  thread_.join();
}

void RegularThread::Run() {
  while (const std::optional<std::chrono::milliseconds> pause = work_()) {
    const auto until = std::chrono::steady_clock::now() + *pause;
    MutexLock lock(mutex_);
    while (!stopping_ && stopped_.WaitUntil(mutex_, until)) {
    }
    if (stopping_) return;
  }
}

}  // namespace mantissa::process
