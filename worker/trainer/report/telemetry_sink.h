// Records and events of one attempt on their way to the agent. Numbers them, batches records, and never makes a
// run wait: what an agent that does not read leaves no room for becomes a gap that says what was lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "mantissa/v1/telemetry.pb.h"
#include "process/clock.h"
#include "worker/amp/iteration_record.h"
#include "worker/amp/precision_monitor.h"
#include "worker/trainer/report/frame_channel.h"
#include "worker/trainer/report/record_columns.h"

namespace mantissa::trainer {

struct TelemetrySinkOptions {
  std::int32_t attempt = 1;
  bool scaled = false;                   // FP16: the loss scale's columns are sent
  std::int32_t every_iterations = 1;     // one record every so many iterations; skipped ones always
  std::int32_t max_rows = 256;           // a segment is sent when it has as many
  std::chrono::milliseconds max_age{8};  // or when its first row is as old
};

// Invariant: attempt sequences are contiguous from 1 over records, events and gaps, in the order they were written.
// Not thread-safe.
class TelemetrySink {
 public:
  // The channel must outlive it.
  TelemetrySink(FrameChannel& channel, const TelemetrySinkOptions& options)
      : channel_(channel), options_(options), rows_(options.scaled) {}

  void Write(const IterationRecord& record, process::SteadyTime now);
  // Sent at once, after the records before it.
  void Write(v1::JobEvent event);

  // How far a run is that has no records to tell it.
  void Advance(std::int32_t iteration) { iteration_ = iteration; }

  // Sends rows that are old enough, continues what waits, and once a second says that the trainer is alive.
  // `monitor`: whose statistics go with that; null for none.
  void Tick(process::SteadyTime now, const PrecisionMonitor* monitor = nullptr);

  // Says at once how far the run is.
  void Heartbeat(const PrecisionMonitor* monitor);

  // Sends everything. What does not fit even now is in a gap that is sent whatever else waits: for it alone the agent
  // is waited for.
  void Finish();

  std::int64_t last_sequence() const { return next_sequence_ - 1; }

 private:
  void SendRows();
  bool SendSegment(v1::Segment segment);
  // True when nothing is missing before what comes next.
  bool SendGap();
  void Lose(std::int64_t first, std::int64_t last, const v1::GapSummary& summary);

  FrameChannel& channel_;
  const TelemetrySinkOptions options_;
  RecordColumns rows_;
  process::SteadyTime first_row_time_;
  std::int64_t next_sequence_ = 1;
  std::optional<v1::Gap> gap_;  // lost and not yet said
  bool any_sent_ = false;
  std::int32_t iteration_ = 0;
  std::int32_t step_ = 0;
  process::SteadyTime last_heartbeat_;
};

}  // namespace mantissa::trainer
