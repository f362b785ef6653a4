// What a watch knows of its job.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/watch/overflow_fold.h"
#include "client/cli/watch/record_rows.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// The course of the loss over the whole run in bounded space: mean values of stretches about equally long, whose length
// doubles when they become too many. Not thread-safe.
class LossCourse {
 public:
  static constexpr std::size_t kMaxPoints = 512;

  // The loss at the end of `records` iterations.
  void Add(double loss, std::size_t records = 1);

  // The run in `columns` points or fewer, oldest first: means of what is finite, NaN where nothing was.
  std::vector<double> Points(std::size_t columns) const;

 private:
  struct Stretch {
    double sum = 0;  // of the finite ones
    std::size_t finite = 0;
    std::size_t values = 0;
    void Join(const Stretch& next);
  };

  // Joins two and two.
  void Halve();

  std::vector<Stretch> stretches_;  // the last one may be incomplete
  std::size_t length_ = 1;
};

struct Evaluation {
  std::int32_t step = 0;
  double loss = 0;
  std::optional<double> accuracy;
  std::optional<double> perplexity;
};

// Everything the view shows; absent where it is not known.
struct WatchState {
  std::string job_id;
  std::string name;
  v1::Job::State job_state = v1::Job::STATE_UNSPECIFIED;
  v1::Reason::Code reason = v1::Reason::REASON_UNSPECIFIED;
  std::string message;
  std::int32_t queue_position = 0;
  std::int32_t attempt = 0;
  std::string worker;
  std::string device;
  v1::PrecisionSpec::Mode precision = v1::PrecisionSpec::MODE_UNSPECIFIED;  // in effect
  v1::PrecisionSpec::Mode submitted_precision = v1::PrecisionSpec::MODE_UNSPECIFIED;
  bool emulated = false;
  std::int32_t lineage = 1;

  bool study = false;  // what counts as iterations are its cases
  std::int64_t iteration = 0;
  std::int64_t total_iterations = 0;
  std::int64_t step = 0;
  std::optional<double> loss;
  LossCourse course;
  std::optional<Evaluation> evaluation;
  std::optional<double> grad_norm;
  std::optional<double> learning_rate;
  std::optional<double> samples_per_second;  // smoothed
  std::optional<double> seconds_left;
  std::optional<double> loss_scale;
  std::optional<std::int64_t> grows_in;  // applied steps
  v1::Phase::Code phase = v1::Phase::PHASE_UNSPECIFIED;
  std::optional<double> stability_score;

  bool live = false;   // the replay is over
  bool ended = false;  // the last frame has come
  std::optional<std::string> folded;
};

// Frames in, state and lines of history out. Entries that were seen already (a reconnect may repeat some) count once.
// Pure: no clock, no I/O. Not thread-safe.
class WatchModel {
 public:
  // The job in full, from GetJob: its name and what its spec says.
  void SetJob(const v1::Job& job);

  void Apply(const v1::WatchJobResponse& frame);

  // Lines of history since the last call.
  std::vector<EventLine> TakeEvents();

  const WatchState& state() const { return state_; }
  // Where a new watch goes on.
  const std::string& next_cursor() const { return next_cursor_; }

 private:
  void ApplyJob(const v1::Job& job);
  void ApplySegment(const v1::Segment& segment);
  void ApplyRow(const IterationRow& row);
  void ApplyEvent(const v1::JobEvent& event);
  void ApplyStarted(const v1::TrainingStarted& started);
  void ApplyLineage(const v1::Lineage& lineage);
  void UpdateRate(const IterationRow& row);
  void BeginAttempt(std::int32_t attempt);

  WatchState state_;
  std::vector<EventLine> events_;
  OverflowFold fold_;
  std::string next_cursor_;
  std::int64_t last_sequence_ = 0;
  std::int32_t attempt_of_rows_ = 0;
  std::optional<std::int64_t> growth_interval_;
  std::deque<std::pair<std::int64_t, std::int64_t>> recent_;  // iteration, nanoseconds
};

}  // namespace mantissa::cli
