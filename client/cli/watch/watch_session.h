// A job followed to its end.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "client/cli/connection.h"
#include "client/cli/console.h"
#include "client/cli/watch/reconnect.h"
#include "client/cli/watch/stream_reader.h"
#include "client/cli/watch/watch_display.h"
#include "client/cli/watch/watch_model.h"
#include "mantissa/v1/job.pb.h"
#include "process/stop_signal.h"

namespace mantissa::cli {

struct WatchOptions {
  bool from_now = false;
  std::string cursor;        // go on from here
  bool events_only = false;  // ask for no records
  // Rows that what was before is thinned to; 0: every record.
  std::int32_t max_points = 0;
  // How long a server that went away is waited for.
  std::chrono::milliseconds retry_for = std::chrono::minutes(10);
  // Give up following after this long.
  std::optional<std::chrono::milliseconds> timeout;
  // What a command needs to reach this server: ` --address X`, or empty.
  std::string address_flag;
};

// Why a watch is over.
struct WatchOutcome {
  ExitCode code = kExitError;
  // The job as it ended, in FULL view, when it did.
  std::optional<v1::Job> job;
};

// Follows the job through reconnects, by cursor, until it ends, Ctrl-C, the timeout, or a server that stays away. Says
// on stderr how to go on when the job does. Installs signal handlers while it runs. Used by one thread.
class WatchSession {
 public:
  WatchSession(Connection& connection, const Console& console, WatchOptions options,
               std::unique_ptr<WatchDisplay> display)
      : connection_(connection), console_(console), options_(std::move(options)), display_(std::move(display)) {}

  WatchOutcome Run(const v1::Job& job);

 private:
  using Time = process::SteadyTime;
  static constexpr std::chrono::milliseconds kRedraw{100};
  static constexpr std::chrono::milliseconds kTick{250};

  v1::WatchJobRequest Request() const;
  void Connect();
  // Waits for frames, a signal, or the time of the next thing to do.
  void WaitForNews(Time until);
  // Nothing while the watch goes on.
  std::optional<WatchOutcome> TakeFrames(Time now);
  std::optional<WatchOutcome> OnStreamEnd(const grpc::Status& status, Time now);
  void Draw(Time now, bool force);
  WatchOutcome End();
  WatchOutcome Leave(ExitCode code, const std::string& why);

  Connection& connection_;
  const Console& console_;
  const WatchOptions options_;
  const std::unique_ptr<WatchDisplay> display_;
  process::StopSignal stop_;
  std::string job_id_;
  WatchModel model_;
  std::unique_ptr<StreamReader<v1::WatchJobResponse>> stream_;  // null while waiting to reconnect
  Reconnect reconnect_;
  bool ignore_cursor_ = false;  // it has expired
  Time last_draw_{};
  int last_width_ = 0;
  std::vector<EventLine> waiting_;  // told at the next drawing
};

}  // namespace mantissa::cli
