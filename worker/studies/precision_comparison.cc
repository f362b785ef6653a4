// Every precision from the same weights over the same windows, each in an engine of its own, in turn.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "worker/studies/report/precision_verdict.h"
#include "worker/studies/run/study_run.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/study.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/micro_batch.h"

namespace mantissa::trainer {
namespace {

constexpr std::size_t kCurvePoints = 200;  // of a run
constexpr char kNoRoom[] =
    "the device's memory was used up; use a smaller batch_size, more accumulation, or a device with more memory";

// How runs on the device ended: kNoRoom means that its memory was used up, and that what they held is free again.
enum class Ran { kDone, kStopped, kNoRoom };

class Comparison {
 public:
  Comparison(const v1::PrecisionComparison& spec, const StudyEnvironment& environment, StudyObserver& observer,
             v1::Report& report)
      : spec_(spec), environment_(environment), observer_(observer), report_(report) {}

  absl::Status Run() {
    auto training = PrepareTraining(spec_.training(), "study.precision_comparison.training", environment_);
    if (!training.ok()) return training.status();
    training_ = *std::move(training);
    ListPrecisions();
    StudyProgress progress(std::int64_t{spec_.seeds()} * supported_ * PartsOf(training_.iterations), observer_);
    std::int64_t seeds = 0;
    if (MeasureMemory(progress)) {
      while (seeds < spec_.seeds() && RunSeed(static_cast<std::uint64_t>(seeds), progress)) ++seeds;
    }
    Fill(seeds);
    return absl::OkStatus();
  }

 private:
  // FP32 first, in any case; without any given, all that the device should have.
  std::vector<v1::PrecisionSpec::Mode> Modes() const {
    std::vector<v1::PrecisionSpec::Mode> modes = {v1::PrecisionSpec::FP32};
    for (const int mode : spec_.precisions()) {
      const auto next = static_cast<v1::PrecisionSpec::Mode>(mode);
      if (std::find(modes.begin(), modes.end(), next) == modes.end()) modes.push_back(next);
    }
    if (!spec_.precisions().empty()) return modes;
    modes.push_back(v1::PrecisionSpec::BF16);
    modes.push_back(v1::PrecisionSpec::FP16);
    if (!environment_.device.is_cpu()) modes.push_back(v1::PrecisionSpec::TF32);
    return modes;
  }

  void ListPrecisions() {
    for (const auto mode : Modes()) {
      ComparedPrecision precision{.mode = mode};
      if (mode != v1::PrecisionSpec::FP32) precision.unsupported = WhyUnsupported(training_.spec, mode, environment_);
      if (precision.unsupported.empty()) ++supported_;
      precisions_.push_back(std::move(precision));
    }
    peak_bytes_.resize(precisions_.size());
  }

  v1::TrainingSpec SpecOf(const ComparedPrecision& precision, std::uint64_t seed) const {
    v1::TrainingSpec spec = InPrecision(training_.spec, precision.mode);
    spec.set_seed(training_.spec.seed() + seed);
    return spec;
  }

  spec::ModelBytes BytesOf(const ComparedPrecision& precision) const {
    const v1::TrainingSpec spec = SpecOf(precision, 0);
    return EstimateAt(spec, training_.sample(), MicroBatchOf(spec.batch_size(), spec.accumulation()));
  }

  // What `run` says, a bool that is false where a stop came. A precision that does not fit the device ends no study.
  template <typename Run>
  Ran OnDevice(const Run& run) {
    try {
      return run() ? Ran::kDone : Ran::kStopped;
    } catch (const c10::OutOfMemoryError&) {
    } catch (const std::bad_alloc&) {
    }
    // Not sooner: what was thrown may hold tensors.
    ReleaseMemory(environment_.device);
    return Ran::kNoRoom;
  }

  bool IsOut(const ComparedPrecision& precision) const {
    return !precision.unsupported.empty() || !precision.failure.empty();
  }

  // Alone on the device it had no room from seed `seed` on, so the seeds before say nothing that can be compared.
  void LeaveOut(std::size_t place, std::int64_t seed, StudyProgress& progress) {
    precisions_[place].failure = kNoRoom;
    precisions_[place].runs.clear();
    progress.Done(absl::StrCat(v1::PrecisionSpec::Mode_Name(precisions_[place].mode), ": ", kNoRoom),
                  (spec_.seeds() - seed) * PartsOf(training_.iterations));
  }

  // Of each precision alone on the device, where that says what is allocated. False when a stop came in between.
  bool MeasureMemory(StudyProgress& progress) {
    if (environment_.device.is_cpu()) return true;
    for (std::size_t i = 0; i < precisions_.size(); ++i) {
      if (IsOut(precisions_[i])) continue;
      ReleaseMemory(environment_.device);
      ResetPeakMemory(environment_.device);
      const Ran ran = OnDevice([&] {
        StudyRun run(training_, SpecOf(precisions_[i], 0), environment_);
        constexpr std::int64_t kIterations = 2;  // with the second, all is there that stays allocated
        return run.Advance(std::min(kIterations, training_.iterations), observer_) || !run.failure().empty();
      });
      if (ran == Ran::kStopped) return false;
      if (ran == Ran::kNoRoom) {
        LeaveOut(i, 0, progress);
      } else {
        peak_bytes_[i] = PeakMemory(environment_.device);
      }
    }
    return true;
  }

  // Whether the runs of a seed can be on the device at once, with room to spare.
  bool FitTogether() const {
    std::int64_t bytes = 0;
    for (const ComparedPrecision& precision : precisions_) {
      if (!IsOut(precision)) bytes += BytesOf(precision).Total();
    }
    const std::int64_t free_bytes = FreeMemory(environment_.device, environment_.memory_limit_bytes);
    return bytes <= free_bytes / 2;
  }

  // One after another of those that are together, part by part, so that a machine that drifts meets all of them alike.
  // False when a stop came in between: nothing of the seed counts then.
  bool RunSeed(std::uint64_t seed, StudyProgress& progress) {
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < precisions_.size(); ++i) {
      if (!IsOut(precisions_[i])) places.push_back(i);
    }
    if (places.empty()) return true;
    std::rotate(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(seed % places.size()), places.end());
    std::vector<ComparedRun> done(precisions_.size());
    Ran ran = Ran::kNoRoom;
    if (FitTogether()) ran = OnDevice([&] { return RunTogether(seed, places, progress, done); });
    if (ran == Ran::kNoRoom) {
      apart_ = true;
      seed_curves_.clear();
      if (!RunApart(seed, places, progress, done)) return false;
    } else if (ran == Ran::kStopped) {
      return false;
    }
    for (const std::size_t place : places) {
      if (!IsOut(precisions_[place])) precisions_[place].runs.push_back(std::move(done[place]));
    }
    curves_.insert(curves_.end(), std::make_move_iterator(seed_curves_.begin()),
                   std::make_move_iterator(seed_curves_.end()));
    seed_curves_.clear();
    return true;
  }

  // One after another; a precision that has no room even so is left out. False when a stop came in between.
  bool RunApart(std::uint64_t seed, const std::vector<std::size_t>& places, StudyProgress& progress,
                std::vector<ComparedRun>& done) {
    for (const std::size_t place : places) {
      const Ran ran = OnDevice([&] { return RunTogether(seed, {place}, progress, done); });
      if (ran == Ran::kStopped) return false;
      if (ran == Ran::kNoRoom) LeaveOut(place, static_cast<std::int64_t>(seed), progress);
    }
    return true;
  }

  bool RunTogether(std::uint64_t seed, const std::vector<std::size_t>& places, StudyProgress& progress,
                   std::vector<ComparedRun>& done) {
    std::vector<std::unique_ptr<StudyRun>> runs;
    for (const std::size_t place : places) {
      runs.push_back(std::make_unique<StudyRun>(training_, SpecOf(precisions_[place], seed), environment_));
      if (runs.back()->emulated())
        precisions_[place].note = "EMULATED: the numbers of the format, made of FP32 products";
    }
    const std::int32_t parts = PartsOf(training_.iterations);
    for (std::int32_t part = 0; part < parts; ++part) {
      for (std::size_t i = 0; i < runs.size(); ++i) {
        // In another order each time.
        const std::size_t turn = (i + static_cast<std::size_t>(part)) % runs.size();
        if (!Train(*runs[turn], NameOf(places[turn], seed), part, progress)) return false;
      }
    }
    for (std::size_t i = 0; i < runs.size(); ++i) {
      done[places[i]] = Summarise(*runs[i], seed);
      AddCurve(places[i], seed, runs[i]->history());
    }
    return !observer_.stop_requested();
  }

  std::string NameOf(std::size_t place, std::uint64_t seed) const {
    return absl::StrCat(v1::PrecisionSpec::Mode_Name(precisions_[place].mode), ", seed ", training_.spec.seed() + seed);
  }

  // False when a stop came.
  bool Train(StudyRun& run, const std::string& name, std::int32_t part, StudyProgress& progress) {
    if (!run.failure().empty()) return true;
    const std::int64_t end = EndOfPart(training_.iterations, part);
    if (run.Advance(end, observer_)) {
      progress.Done(PartText(run, name, training_.iterations));
    } else if (run.failure().empty()) {
      return false;
    } else {
      progress.Done(absl::StrCat(name, ": ", run.failure()), PartsOf(training_.iterations) - part);
    }
    return true;
  }

  ComparedRun Summarise(StudyRun& run, std::uint64_t seed) {
    ComparedRun summary;
    summary.seed = training_.spec.seed() + seed;
    summary.seconds = run.history().SecondsAfter(spec_.warm_up_iterations());
    summary.last_quarter = run.history().LastQuarter(training_.iterations);
    summary.iterations = run.iteration();
    summary.skipped = run.skipped();
    summary.failure = run.failure();
    if (summary.failure.empty()) summary.eval_loss = run.EvalLoss(observer_);
    thinned_ = thinned_ || run.history().stride() > 1;
    return summary;
  }

  void AddCurve(std::size_t place, std::uint64_t seed, const RunHistory& history) {
    const std::vector<HistoryPoint>& points = history.points();
    const std::size_t step = (points.size() + kCurvePoints - 1) / kCurvePoints;
    for (std::size_t i = 0; i < points.size(); i += step) {
      v1::LossCurvePoint& point = seed_curves_.emplace_back();
      point.set_precision(precisions_[place].mode);
      point.set_seed(training_.spec.seed() + seed);
      point.set_iteration(static_cast<std::int32_t>(points[i].iteration));
      point.set_loss(points[i].loss);
    }
  }

  void Fill(std::int64_t seeds) {
    v1::PrecisionComparisonReport& result = *report_.mutable_precision_comparison();
    Compare(precisions_, training_.spec.batch_size(), result);
    for (std::size_t i = 0; i < precisions_.size(); ++i) AddMemory(i, *result.mutable_precisions(static_cast<int>(i)));
    for (v1::LossCurvePoint& point : curves_) *result.add_curves() = std::move(point);
    report_.set_finding(ComparisonFinding(result, seeds));
    report_.add_limits(absl::StrCat("Each run is ", training_.iterations,
                                    " iterations long; what happens later is not known from it."));
    if (seeds < spec_.seeds()) {
      report_.set_partial(true);
      report_.add_limits(
          absl::StrCat("It was stopped: ", seeds, " of ", spec_.seeds(), " seeds are whole, and only they count."));
    }
    if (environment_.device.is_cpu()) {
      report_.add_limits("A CPU does not say what is allocated, so no peak was measured.");
    } else {
      report_.add_limits(
          "Iterations were launched operation by operation; a job records them as one graph where it can, so that a "
          "small model is faster in a job, and its speedups are others.");
    }
    if (apart_) {
      report_.add_limits(
          "The device does not hold the runs of all precisions at once, so they were timed one after another, not in "
          "turn.");
    }
    if (thinned_)
      report_.add_limits("Of these long runs only evenly spaced iterations were kept for losses and times.");
  }

  void AddMemory(std::size_t place, v1::PrecisionRow& row) const {
    const spec::ModelBytes bytes = BytesOf(precisions_[place]);
    // With everything that the weights are kept in beside FP32.
    row.set_parameter_bytes(bytes.parameters + bytes.casts);
    row.set_gradient_bytes(bytes.gradients);
    row.set_optimizer_bytes(bytes.optimizer_state);
    row.set_activation_bytes(bytes.activations);
    if (peak_bytes_[place] > 0) row.set_peak_memory_bytes(peak_bytes_[place]);
  }

  const v1::PrecisionComparison& spec_;
  const StudyEnvironment& environment_;
  StudyObserver& observer_;
  v1::Report& report_;
  StudyTraining training_;
  std::vector<ComparedPrecision> precisions_;  // FP32 first
  std::vector<std::int64_t> peak_bytes_;       // of each; 0: not measured
  std::int64_t supported_ = 0;
  std::vector<v1::LossCurvePoint> curves_;
  std::vector<v1::LossCurvePoint> seed_curves_;  // of the seed that is under way
  bool apart_ = false;
  bool thinned_ = false;
};

}  // namespace

absl::Status RunPrecisionComparison(const v1::PrecisionComparison& spec, const StudyEnvironment& environment,
                                    StudyObserver& observer, v1::Report& report) {
  return Comparison(spec, environment, observer, report).Run();
}

}  // namespace mantissa::trainer
