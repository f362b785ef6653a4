// One training of a study from its beginning to its end, and how it went.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "mantissa/v1/training.pb.h"
#include "worker/amp/iteration_record.h"
#include "worker/studies/run/run_history.h"
#include "worker/studies/run/run_setup.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

// Several may live at once and train in turn; each finds the process as it needs it. Not thread-safe.
class StudyRun {
 public:
  // Begins from what the seed of `spec` gives. `spec` is `training.spec` with another precision or seed (InPrecision).
  // `training` and `environment` outlive it.
  StudyRun(const StudyTraining& training, const v1::TrainingSpec& spec, const StudyEnvironment& environment);

  // Trains until `iteration` windows have been consumed. False when it did not get there: a stop was asked for, or its
  // precision failed.
  bool Advance(std::int64_t iteration, Control& control);

  // Hears of every iteration, in order.
  void Listen(std::function<void(const IterationRecord&)> listener) { listener_ = std::move(listener); }

  const RunHistory& history() const { return history_; }
  std::int64_t iteration() const { return last_.iteration; }  // windows consumed
  std::int64_t skipped() const { return last_.iteration - last_.step; }
  const IterationRecord& last() const { return last_; }
  // How its precision failed, a sentence without its full stop; empty: it has not.
  const std::string& failure() const { return failure_; }
  // Its products are those of a format that the device lacks, made of FP32's.
  bool emulated() const { return emulated_; }

  // The gradients of the last iteration, one view per parameter; times the loss scale that it ran with.
  RunState& state() { return setup_.state(); }

  // On the spec's held-out data; nothing where it has none, or a stop came in the middle.
  std::optional<double> EvalLoss(Control& control);

 private:
  void Note(const IterationRecord& record, bool first);

  const StudyTraining& training_;
  const v1::TrainingSpec spec_;
  const bool emulated_;
  RunSetup setup_;
  std::function<void(const IterationRecord&)> listener_;
  RunHistory history_;
  IterationRecord last_;
  std::string failure_;
};

// A run in parts, each a case of its study: as many as give people something to look at, and no more.
std::int32_t PartsOf(std::int64_t iterations);
// Where part `part`, from 0, ends.
std::int64_t EndOfPart(std::int64_t iterations, std::int32_t part);

// The cases of a study as they are done.
class StudyProgress {
 public:
  StudyProgress(std::int64_t total, StudyObserver& observer);

  // `cases` more; those of a run that has ended early are done with it.
  void Done(const std::string& what, std::int64_t cases = 1);

 private:
  const std::int32_t total_;
  StudyObserver& observer_;
  std::int32_t done_ = 0;
};

// `FP16, seed 2, iteration 50 of 100: loss 0.412`, where the run is now.
std::string PartText(const StudyRun& run, const std::string& name, std::int64_t iterations);

// The whole run, part by part, as cases of `progress` that are called `name`: `FP16, loss scale 2^14`. False as
// Advance.
bool TrainInParts(StudyRun& run, std::int64_t iterations, const std::string& name, StudyProgress& progress,
                  Control& control);

}  // namespace mantissa::trainer
