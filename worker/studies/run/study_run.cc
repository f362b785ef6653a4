#include "worker/studies/run/study_run.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/evaluate.h"
#include "worker/trainer/micro_batch.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kLeastPart = 25;  // iterations
constexpr std::int64_t kMostParts = 8;

std::string FailureOf(const IterationRecord& record) {
  switch (record.halt) {
    case Halt::kScaleAtFloor:
      return absl::StrFormat("iteration %d overflowed with the loss scale at its floor, %.6g", record.iteration,
                             record.loss_scale);
    case Halt::kScaleTooSmall:
      return absl::StrFormat("the loss scale fell to %.6g at iteration %d, too small to help", record.next_loss_scale,
                             record.iteration);
    case Halt::kSkipsInRow:
      return absl::StrCat("one iteration after another was skipped, up to iteration ", record.iteration);
    case Halt::kReplay:
    case Halt::kRehearsal:
    case Halt::kNone:
      break;
  }
  return "";
}

}  // namespace

StudyRun::StudyRun(const StudyTraining& training, const v1::TrainingSpec& spec, const StudyEnvironment& environment)
    : training_(training),
      spec_(spec),
      emulated_(!LackingModes(spec.precision(), environment.precisions).empty()),
      setup_({spec_, *training.data.train, training.iterations, training.threads}, environment) {}

bool StudyRun::Advance(std::int64_t iteration, Control& control) {
  setup_.TakeProcess();  // another run may have had it
  const Boundary goal{iteration, std::numeric_limits<std::int64_t>::max()};
  bool first = true;
  while (failure_.empty()) {
    const bool reached = setup_.engine().RunUntil(goal, control);
    for (const IterationReport& report : setup_.engine().Poll()) {
      Note(report.record, first);
      first = false;
    }
    if (reached) return failure_.empty();
    if (control.stop_requested()) return false;
  }
  return false;
}

void StudyRun::Note(const IterationRecord& record, bool first) {
  last_ = record;
  // The first one pays for caches that others have used.
  history_.Add({record.iteration, record.loss, record.seconds, record.applied, /*timed=*/!first});
  failure_ = FailureOf(record);
  if (listener_) listener_(record);
}

std::optional<double> StudyRun::EvalLoss(Control& control) {
  if (training_.data.eval == nullptr) return std::nullopt;
  setup_.TakeProcess();
  // As an attempt does it: in the micro-batches that were chosen, else by the window.
  const std::int32_t pieces = spec_.micro_batch() == v1::MicroBatch::AUTO ? spec_.accumulation() : 1;
  const EvaluationOptions options{MicroBatchOf(spec_.batch_size(), pieces),
                                  std::int64_t{spec_.evaluation().max_batches()} * pieces};
  const auto result = Evaluate(state().model(), *training_.data.eval, setup_.policy(), options, control);
  return result ? std::optional(result->loss()) : std::nullopt;
}

std::int32_t PartsOf(std::int64_t iterations) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(iterations / kLeastPart, 1, kMostParts));
}

std::int64_t EndOfPart(std::int64_t iterations, std::int32_t part) {
  return iterations * (part + 1) / PartsOf(iterations);
}

StudyProgress::StudyProgress(std::int64_t total, StudyObserver& observer)
    : total_(static_cast<std::int32_t>(total)), observer_(observer) {
  observer_.Done(0, total_, "");
}

void StudyProgress::Done(const std::string& what, std::int64_t cases) {
  done_ = std::min(done_ + static_cast<std::int32_t>(cases), total_);
  observer_.Done(done_, total_, what);
}

std::string PartText(const StudyRun& run, const std::string& name, std::int64_t iterations) {
  return absl::StrFormat("%s, iteration %d of %d: loss %.4g", name, run.iteration(), iterations, run.last().loss);
}

bool TrainInParts(StudyRun& run, std::int64_t iterations, const std::string& name, StudyProgress& progress,
                  Control& control) {
  const std::int32_t parts = PartsOf(iterations);
  for (std::int32_t part = 0; part < parts; ++part) {
    if (!run.Advance(EndOfPart(iterations, part), control)) {
      if (!run.failure().empty()) progress.Done(absl::StrCat(name, ": ", run.failure()), parts - part);
      return false;
    }
    progress.Done(PartText(run, name, iterations));
  }
  return true;
}

}  // namespace mantissa::trainer
