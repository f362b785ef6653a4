#include "server/rpc/call/open_calls.h"

namespace mantissa::server {

using process::MutexLock;

absl::Status OpenCalls::Add(const std::shared_ptr<OpenCall>& call) {
  MutexLock lock(mutex_);
  if (closed_.ok()) calls_.insert(call);
  return closed_;
}

void OpenCalls::Remove(const std::shared_ptr<OpenCall>& call) {
  MutexLock lock(mutex_);
  calls_.erase(call);
}

void OpenCalls::EndAll(const absl::Status& status) {
  std::set<std::shared_ptr<OpenCall>> calls;
  {
    MutexLock lock(mutex_);
    calls = calls_;
  }
  for (const std::shared_ptr<OpenCall>& call : calls) call->End(status);
}

void OpenCalls::Close(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    closed_ = status;
  }
  EndAll(status);
}

size_t OpenCalls::size() const {
  MutexLock lock(mutex_);
  return calls_.size();
}

}  // namespace mantissa::server
