// What `mantissa top` knows of a server's jobs and workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mantissa/v1/admin_service.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "process/clock.h"

namespace mantissa::cli {

// Jobs that are not over, and those that are.
const std::vector<v1::Job::State>& LiveStates();
const std::vector<v1::Job::State>& EndStates();

struct RunningJob {
  v1::Job job;
  std::optional<double> seconds_left;
};

// One moment of it, as it is shown.
struct TopState {
  std::string address;
  process::WallTime now;
  std::map<v1::Job::State, std::int64_t> live;       // jobs in each state
  std::optional<std::int64_t> ended_in_last_minute;  // where that was watched
  std::vector<v1::Worker> workers;                   // by id
  std::vector<RunningJob> running;                   // with a worker, oldest first
  std::vector<v1::Job> waiting;                      // the queued ones, then the paused ones, oldest first
  std::vector<v1::Job> ended;                        // what ended last comes first
};

// Answers in, a picture's content out. Pure: no clock, no I/O. Not thread-safe.
class TopModel {
 public:
  static constexpr std::size_t kMostEnded = 1000;
  static constexpr std::chrono::seconds kMinute{60};

  explicit TopModel(std::string address) : address_(std::move(address)) {}

  // The next frame is the first of a new watch: live jobs that it and those after it don't name have ended or gone.
  void BeginAnew() { anew_ = true; }
  // Of a watch.
  void Apply(const v1::WatchJobsResponse& frame, process::WallTime now);
  // Of a list: as it was asked for, so that nothing of it counts as just ended.
  void AddListed(const v1::ListJobsResponse& page);
  void SetWorkers(const v1::ListWorkersResponse& response);

  // At most `most` of each kind of job, but all are counted.
  TopState State(process::WallTime now, std::size_t most) const;

 private:
  // How fast a job gets on: between two of its reports, of which the older one follows at a distance.
  struct Mark {
    std::int64_t micros = 0;
    std::int32_t iteration = 0;
  };
  struct Live {
    v1::Job job;
    Mark older, newer;
  };

  // False when nothing has changed by it: ends are final, whatever comes after.
  bool Put(const v1::Job& job);
  // `job` is what comes next of `live`.
  static void MovePace(const v1::Job& job, Live& live);
  static std::optional<double> SecondsLeft(const Live& live);

  const std::string address_;
  bool anew_ = false;
  bool watched_ = false;
  std::map<std::string, Live> live_;                               // ids sort by age
  std::map<std::pair<std::int64_t, std::string>, v1::Job> ended_;  // by when; the newest kMostEnded
  std::map<std::string, std::int64_t> ended_at_;                   // keys of ended_
  std::deque<process::WallTime> ends_;                             // of the last minute
  std::map<std::string, v1::Worker> workers_;
};

}  // namespace mantissa::cli
