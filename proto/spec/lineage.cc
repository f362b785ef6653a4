#include "proto/spec/lineage.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"

namespace mantissa::spec {
namespace {

using Spec = v1::PrecisionSpec;

// The precision after the one in effect; the mode of the spec stands before the whole list.
std::optional<Spec::Mode> NextPrecision(const Spec& precision, const v1::Lineage& lineage) {
  int next = 0;
  for (int i = 0; i < precision.fallback_size(); ++i) {
    if (precision.fallback(i) == lineage.precision()) next = i + 1;
  }
  if (next >= precision.fallback_size()) return std::nullopt;
  return precision.fallback(next);
}

bool Overlap(const v1::IndexRange& a, const v1::IndexRange& b) {
  return a.first() <= b.last() && b.first() <= a.last();
}

// A rollback has answered some of these iterations before: what failed there was not the data of their windows.
bool FailsAgain(const v1::Lineage& lineage, const v1::IndexRange& iterations) {
  return std::any_of(lineage.troubles().begin(), lineage.troubles().end(),
                     [&](const v1::IndexRange& trouble) { return Overlap(trouble, iterations); });
}

bool RollbacksAreUsed(const Spec& precision, const v1::Lineage& lineage) {
  return lineage.rollbacks() >= (precision.has_max_rollbacks() ? precision.max_rollbacks() : kDefaultMaxRollbacks);
}

bool RollsSpikesBack(const Spec& precision) { return precision.loss_spike().action() == v1::LossSpikeGuard::ROLLBACK; }

std::int64_t Size(const v1::IndexRange& range) { return std::int64_t{range.last()} - range.first() + 1; }

// Adds windows to a list that stays in order, none next to another.
void SkipWindows(std::int64_t first, std::int64_t last, v1::Lineage& lineage) {
  std::vector<v1::IndexRange> ranges;
  for (const v1::IndexRange& range : lineage.skipped_windows()) {
    if (range.last() + std::int64_t{1} < first || last + 1 < range.first()) {
      ranges.push_back(range);
    } else {
      first = std::min<std::int64_t>(first, range.first());
      last = std::max<std::int64_t>(last, range.last());
    }
  }
  v1::IndexRange all;
  all.set_first(static_cast<std::int32_t>(first));
  all.set_last(static_cast<std::int32_t>(last));
  ranges.insert(std::find_if(ranges.begin(), ranges.end(),
                             [&](const v1::IndexRange& range) { return range.first() > all.first(); }),
                all);
  lineage.mutable_skipped_windows()->Assign(ranges.begin(), ranges.end());
}

}  // namespace

v1::Lineage FirstLineage(const Spec& precision) {
  v1::Lineage lineage;
  lineage.set_number(1);
  lineage.set_precision(precision.mode());
  lineage.set_learning_rate_factor(1);
  return lineage;
}

v1::Lineage LineageOf(const v1::Job& job) {
  return job.has_lineage() ? job.lineage() : FirstLineage(job.resolved_spec().training().precision());
}

std::optional<v1::Intervention> ChooseIntervention(const Spec& precision, const v1::Lineage& lineage,
                                                   v1::Reason::Code reason, const v1::IndexRange& iterations) {
  v1::Intervention intervention;
  intervention.set_reason(reason);
  *intervention.mutable_iterations() = iterations;
  intervention.set_from_precision(lineage.precision());
  intervention.set_to_precision(lineage.precision());
  const bool spike = reason == v1::Reason::LOSS_SPIKE;
  const bool goes_back = spike ? RollsSpikesBack(precision) : precision.on_failure() == Spec::ROLLBACK;
  if (goes_back && !RollbacksAreUsed(precision, lineage) && !FailsAgain(lineage, iterations)) {
    intervention.set_kind(v1::Intervention::ROLLBACK);
    return intervention;
  }
  // Another precision is no answer to a loss that is finite.
  if (spike || !MayFallBack(precision)) return std::nullopt;
  const std::optional<Spec::Mode> next = NextPrecision(precision, lineage);
  if (!next) return std::nullopt;
  intervention.set_kind(v1::Intervention::FALLBACK);
  intervention.set_to_precision(*next);
  return intervention;
}

std::string WhyNoIntervention(const Spec& precision, const v1::Lineage& lineage, v1::Reason::Code reason,
                              const v1::IndexRange& iterations) {
  if (reason == v1::Reason::LOSS_SPIKE) {
    if (!RollsSpikesBack(precision)) return "";
    if (FailsAgain(lineage, iterations))
      return "A rollback has not helped: the loss jumped at the same iterations again.";
    return absl::StrCat("It can't be rolled back: ", lineage.rollbacks(),
                        " rollbacks are used (precision.max_rollbacks).");
  }
  const std::string no_fallback =
      precision.fallback_size() > 0 ? "no precision of fallback is left" : "there is no fallback";
  if (precision.on_failure() == Spec::FALLBACK) return absl::StrCat("It can't fall back: ", no_fallback, ".");
  if (precision.on_failure() != Spec::ROLLBACK) return "";
  if (FailsAgain(lineage, iterations)) {
    return absl::StrCat("A rollback has not helped: the same iterations failed again, and ", no_fallback, ".");
  }
  return absl::StrCat("It can't be rolled back: ", lineage.rollbacks(),
                      " rollbacks are used (precision.max_rollbacks), and ", no_fallback, ".");
}

bool IsRunOfIterations(const v1::Lineage& lineage, const v1::IndexRange& iterations) {
  if (iterations.first() < 1 || iterations.last() < iterations.first()) return false;
  std::int64_t windows = iterations.last();
  for (const v1::IndexRange& range : lineage.skipped_windows()) windows += Size(range);
  return windows < std::numeric_limits<std::int32_t>::max();
}

v1::Lineage NextLineage(const v1::Lineage& lineage, const v1::Intervention& intervention,
                        const std::string& checkpoint) {
  v1::Lineage next = lineage;
  next.set_number(lineage.number() + 1);
  next.set_checkpoint(checkpoint);
  next.set_precision(intervention.to_precision());
  if (intervention.kind() != v1::Intervention::ROLLBACK) return next;
  const v1::IndexRange& iterations = intervention.iterations();
  next.set_rollbacks(lineage.rollbacks() + 1);
  next.set_learning_rate_factor(lineage.learning_rate_factor() * kRollbackFactor);
  SkipWindows(WindowAfter(lineage, iterations.first() - 1), WindowAfter(lineage, iterations.last() - 1), next);
  *next.add_troubles() = iterations;
  return next;
}

std::int64_t WindowAfter(const v1::Lineage& lineage, std::int64_t iteration) {
  std::int64_t window = iteration;
  for (const v1::IndexRange& range : lineage.skipped_windows()) {
    if (window < range.first()) break;
    window += Size(range);
  }
  return window;
}

bool MayIntervene(const Spec& precision) { return MayRollBack(precision) || MayFallBack(precision); }

bool MayRollBack(const Spec& precision) {
  return precision.on_failure() == Spec::ROLLBACK || RollsSpikesBack(precision);
}

bool MayFallBack(const Spec& precision) {
  return precision.on_failure() == Spec::ROLLBACK || precision.on_failure() == Spec::FALLBACK;
}

}  // namespace mantissa::spec
