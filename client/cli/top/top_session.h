// All jobs followed on a terminal until somebody leaves.
#pragma once

#include <chrono>
#include <memory>

#include "client/cli/connection.h"
#include "client/cli/console.h"
#include "client/cli/top/pending_call.h"
#include "client/cli/top/screen.h"
#include "client/cli/top/top_model.h"
#include "client/cli/watch/reconnect.h"
#include "client/cli/watch/stream_reader.h"
#include "process/stop_signal.h"

namespace mantissa::cli {

// Jobs that are not over: what a view of now needs, however many have ended.
v1::JobFilter LiveJobs();

// The newest that have ended, one page.
v1::ListJobsRequest EndedJobs();

// Every worker, up to a page of them.
v1::ListWorkersRequest AllWorkers();

// Jobs by WatchJobs, workers by asking every two seconds. A server that goes away is waited for until the user leaves.
// Installs signal handlers while it runs. Used by one thread.
class TopSession {
 public:
  // `workers`: as they answered when the server was reached.
  TopSession(Connection& connection, const Console& console, const v1::ListWorkersResponse& workers);

  int Run();

 private:
  using Time = process::SteadyTime;
  static constexpr std::chrono::milliseconds kRedraw{100};
  static constexpr std::chrono::milliseconds kTick{250};  // ages grow, and the terminal may have another size
  static constexpr std::chrono::seconds kAskWorkers{2};

  void Connect();
  void AskWorkers();
  // Not OK: what no waiting helps against.
  absl::Status TakeFrames(Time now);
  void TakeAnswers(Time now);
  void Draw(Time now);
  // True when the user wants to leave.
  bool WaitForNews();

  Connection& connection_;
  const Console& console_;
  TopModel model_;
  process::StopSignal stop_;
  Reconnect reconnect_;
  std::unique_ptr<StreamReader<v1::WatchJobsResponse>> stream_;                    // null while waiting to reconnect
  std::unique_ptr<PendingCall<v1::ListJobsRequest, v1::ListJobsResponse>> ended_;  // null: it was answered
  std::unique_ptr<PendingCall<v1::ListWorkersRequest, v1::ListWorkersResponse>> workers_;
  Time ask_workers_at_{};
  Time last_draw_{};
  bool news_ = true;  // since the last drawing
  std::unique_ptr<Screen> screen_;
};

}  // namespace mantissa::cli
