#pragma once

#include <memory>
#include <set>

#include "absl/status/status.h"

#include "process/mutex.h"

namespace mantissa::server {

// A call that can stay open for long and so must be told when the server goes.
class OpenCall {
 public:
  virtual ~OpenCall() = default;
  // Ends the call with `status` as soon as it can; again, or after its end: nothing. Returns quickly.
  virtual void End(const absl::Status& status) = 0;
};

// Every call that hangs or streams. Thread-safe.
class OpenCalls {
 public:
  // What Close said, once it was called: the call must end itself.
  absl::Status Add(const std::shared_ptr<OpenCall>& call);
  void Remove(const std::shared_ptr<OpenCall>& call);

  // Tells all there are to end with `status`; later ones may come.
  void EndAll(const absl::Status& status);
  // The same, and refuses later ones.
  void Close(const absl::Status& status);

  size_t size() const;

 private:
  mutable process::Mutex mutex_;
  std::set<std::shared_ptr<OpenCall>> calls_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
