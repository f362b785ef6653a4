// The studies of one advice, from submit to their ends.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "client/cli/advise/advice.h"
#include "client/cli/commands/context.h"
#include "mantissa/v1/job.pb.h"
#include "process/stop_signal.h"

namespace mantissa::cli {

// Installs signal handlers while it lives. Used by one thread.
class StudyWait {
 public:
  // The jobs are of the label kAdviceLabel=`advice_id`.
  StudyWait(const Context& context, std::string advice_id, std::chrono::milliseconds retry_for)
      : context_(context), advice_id_(std::move(advice_id)), retry_for_(retry_for) {}

  // A job that the server refuses is a study that failed; only when it refuses all of them, or does not answer, is that
  // an error, and what was submitted is cancelled.
  absl::Status Submit(const std::vector<v1::JobSpec>& plan);

  // Until all have ended. Progress goes to stderr, a line a study: redrawn on a terminal, else written when its state
  // changes. CANCELLED when a stop came, which has cancelled what went on; UNAVAILABLE when the server stays away.
  absl::Status Run();

  // As they ended, with their reports, in the order of the plan.
  std::vector<StudyOutcome> Outcomes();

 private:
  struct Study {
    v1::StudySpec::KindCase kind = v1::StudySpec::KIND_NOT_SET;
    v1::Job job;          // as heard last; without an id where it was refused
    std::string failure;  // why it was refused
    std::string line;     // as shown last
  };

  // Takes in what the server says of the jobs.
  absl::Status Ask();
  bool AllEnded() const;
  void Show();
  void CancelAll();

  const Context& context_;
  const std::string advice_id_;
  const std::chrono::milliseconds retry_for_;
  process::StopSignal stop_;
  std::vector<Study> studies_;
  bool shown_ = false;
};

}  // namespace mantissa::cli
