// A stretch of a job's stored entries, thinned on its way out of the store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/telemetry.pb.h"
#include "server/core/thinning.h"
#include "server/store/job_store.h"

namespace mantissa::server {

// Sequences, both included.
struct StoredRange {
  int64_t from = 1;
  int64_t through = 0;
};

// What thins the records of `range`; nothing where they are to be sent as they are. May block.
absl::StatusOr<std::optional<ThinningPlan>> PlanReplay(JobStore& store, const std::string& job_id, StoredRange range,
                                                       int32_t max_points);

// Holds one row that is being gathered, and a position. Not thread-safe.
class ThinnedReplay {
 public:
  struct Options {
    bool events = true;  // else they are left out, and rows do not end at them
  };

  ThinnedReplay(JobStore& store, std::string job_id, StoredRange range, ThinningPlan plan, Options options)
      : store_(store),
        job_id_(std::move(job_id)),
        range_(range),
        options_(options),
        next_(range.from),
        read_next_(range.from),
        thinning_(std::move(plan)) {}

  // Reads on until something is complete, the range is at its end, or it has read for long enough; so what it returns
  // may be empty. May block.
  absl::StatusOr<std::vector<v1::Segment>> Next();
  // Ends the row that is being gathered.
  std::vector<v1::Segment> EndRow();

  // The first sequence that what was returned does not answer for.
  int64_t next() const { return next_; }
  bool done() const { return next_ > range_.through; }

 private:
  absl::Status ReadPage();
  std::vector<v1::Segment> TakeComplete();

  JobStore& store_;
  const std::string job_id_;
  const StoredRange range_;
  const Options options_;
  int64_t next_;
  int64_t read_next_;  // what was read and is not complete yet lies before it
  Thinning thinning_;
};

}  // namespace mantissa::server
