// Overflows in a row, told once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// A line of the watch's history.
struct EventLine {
  google::protobuf::Timestamp time;
  v1::JobEvent::Severity severity = v1::JobEvent::INFO;
  std::string text;
};

// A run of overflows close to each other (a scale that searches its level, a run that diverges) would drown everything
// else: the first kTold of a run are told one by one, the others counted and told in one line when the run is over.
// Not thread-safe.
class OverflowFold {
 public:
  static constexpr int kTold = 3;
  // An overflow more than this many iterations after the last one begins a run of its own.
  static constexpr int kRunGap = 10;

  // Appends what is to be told now.
  void OnOverflow(const v1::JobEvent& event, std::vector<EventLine>& told);
  // The run has come to `iteration`.
  void OnIteration(std::int64_t iteration, std::vector<EventLine>& told);
  // Something else is to be told: what was counted goes before it.
  void Flush(std::vector<EventLine>& told);

  // What is counted and not yet told: `12 iterations skipped since 12:01:07 …`.
  std::optional<std::string> pending() const;

 private:
  std::string Summary() const;

  int in_run_ = 0;
  std::int64_t last_iteration_ = 0;
  int folded_ = 0;
  v1::JobEvent first_folded_;
  v1::JobEvent last_folded_;
};

}  // namespace mantissa::cli
