// One WatchJob call, read by a thread of its own.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "client/cli/connection.h"
#include "mantissa/v1/job_service.pb.h"
#include "process/file_descriptor.h"
#include "process/mutex.h"

namespace mantissa::cli {

// Reads frames as they come, holds a bounded number of them, and makes a descriptor readable when there is something to
// take. The destructor cancels the call. Take() and the destructor belong to one thread.
class WatchStream {
 public:
  WatchStream(Connection& connection, const v1::WatchJobRequest& request);
  ~WatchStream();
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  // Readable when Take() has something new.
  int fd() const { return ready_.get(); }

  struct Batch {
    std::vector<v1::WatchJobResponse> frames;
    // The call is over and everything was taken.
    std::optional<grpc::Status> end;
  };
  Batch Take();

 private:
  static constexpr std::size_t kMaxFrames = 256;

  void ReadAll();

  const process::FileDescriptor ready_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader_;
  process::Mutex mutex_;
  process::CondVar taken_;
  std::deque<v1::WatchJobResponse> frames_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::cli
