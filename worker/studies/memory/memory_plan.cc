#include "worker/studies/memory/memory_plan.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "proto/spec/module_precision.h"
#include "worker/amp/precision_policy.h"
#include "worker/data/data_size.h"
#include "worker/studies/report/number_text.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kFullBytes = 4;
constexpr std::int64_t kLowBytes = 2;  // of FP16 and BF16, the two that are stored
// What leaves the range stays at the largest value.
std::int64_t Plus(std::int64_t a, std::int64_t b) { return SaturatingSum(a, b); }
std::int64_t Times(std::int64_t a, std::int64_t b) { return SaturatingProduct(a, b); }

constexpr std::int32_t kMostSamples = 1 << 30;
constexpr char kOther[] = "other";

bool IsLow(v1::PrecisionSpec::Mode mode) { return mode == v1::PrecisionSpec::FP16 || mode == v1::PrecisionSpec::BF16; }

// Rows in the order in which their groups turn up.
class Groups {
 public:
  explicit Groups(const v1::PrecisionSpec& precision) : precision_(precision) {}

  v1::MemoryRow& Of(std::string_view group) {
    const auto [found, added] = index_.emplace(std::string(group), rows_.size());
    if (added) {
      v1::MemoryRow row;
      row.set_precision(precision_.mode());
      row.set_storage(precision_.storage());
      row.set_group(found->first);
      rows_.push_back(std::move(row));
    }
    return rows_[found->second];
  }

  std::vector<v1::MemoryRow> Take() { return std::move(rows_); }

 private:
  const v1::PrecisionSpec& precision_;
  std::vector<v1::MemoryRow> rows_;
  std::map<std::string, std::size_t> index_;
};

std::string NameOf(v1::PrecisionSpec::Mode mode, v1::PrecisionSpec::Storage storage) {
  const std::string& name = v1::PrecisionSpec::Mode_Name(mode);
  return storage == v1::PrecisionSpec::MASTER_FP32 ? absl::StrCat(name, " with MASTER_FP32") : name;
}

std::string NameOf(const v1::MemoryTotal& total) { return NameOf(total.precision(), total.storage()); }

std::int64_t BytesOf(const v1::MemoryTotal& total) {
  return total.has_measured_bytes() ? total.measured_bytes() : total.estimated_bytes();
}

std::string NamesOf(const std::vector<const v1::MemoryTotal*>& totals) {
  return absl::StrJoin(totals, ", ",
                       [](std::string* out, const v1::MemoryTotal* total) { absl::StrAppend(out, NameOf(*total)); });
}

// Those that have the most of it: estimates of several are often equal.
template <class Of>
std::vector<const v1::MemoryTotal*> MostOf(const std::vector<const v1::MemoryTotal*>& totals, Of of) {
  std::vector<const v1::MemoryTotal*> most;
  for (const v1::MemoryTotal* total : totals) {
    if (!most.empty() && of(*total) < of(*most.front())) continue;
    if (!most.empty() && of(*total) > of(*most.front())) most.clear();
    most.push_back(total);
  }
  return most;
}

std::string SavingText(const v1::MemoryPlanReport& report) {
  std::vector<const v1::MemoryTotal*> low;
  for (const v1::MemoryTotal& total : report.totals()) {
    if (total.has_saved_share() && IsLow(total.precision())) low.push_back(&total);
  }
  const std::vector<const v1::MemoryTotal*> best = MostOf(low, [](const auto& total) { return total.saved_share(); });
  if (best.empty()) return "No low precision was planned, so nothing can be said of what one saves.";
  const double saved = best.front()->saved_share();
  if (saved <= 0) {
    return absl::StrFormat(
        "No low precision saves memory here: %s, the best, %s %.1f %% more than FP32, masters, "
        "gradients and moments included.",
        NamesOf(best), best.size() == 1 ? "takes" : "take", -100 * saved);
  }
  return absl::StrFormat("%s %s most, %.1f %% of what FP32 takes, masters, gradients and moments included.",
                         NamesOf(best), best.size() == 1 ? "saves" : "save", 100 * saved);
}

// How far the estimates are from what was measured.
std::string MeasuredText(const v1::MemoryPlanReport& report) {
  int measured = 0;
  double farthest = 0;
  for (const v1::MemoryTotal& total : report.totals()) {
    if (!total.has_measured_bytes()) continue;
    ++measured;
    const double off = static_cast<double>(total.measured_bytes()) / static_cast<double>(total.estimated_bytes()) - 1;
    if (std::abs(off) > std::abs(farthest)) farthest = off;
  }
  if (measured == 0) return " Activations are estimated: nothing was measured.";
  return absl::StrFormat(" What was measured is within %.1f %% of the estimates, in %s.", 100 * std::abs(farthest),
                         CountText(measured, "row"));
}

std::string BatchText(const v1::MemoryPlanReport& report, std::int64_t memory_bytes) {
  std::vector<const v1::MemoryTotal*> planned;
  for (const v1::MemoryTotal& total : report.totals()) {
    if (total.has_largest_batch()) planned.push_back(&total);
  }
  const std::vector<const v1::MemoryTotal*> largest =
      MostOf(planned, [](const auto& total) { return total.largest_batch(); });
  if (largest.empty()) return "";
  if (largest.front()->largest_batch() == 0) {
    return absl::StrCat(" Not even one sample fits ", BytesText(memory_bytes), " in any of them.");
  }
  return absl::StrCat(" The largest batch that fits ", BytesText(memory_bytes), " at once is ",
                      largest.front()->largest_batch(), ", in ", NamesOf(largest), ".");
}

}  // namespace

std::vector<PlannedPrecision> PrecisionsOf(const v1::MemoryPlan& plan) {
  using Precision = v1::PrecisionSpec;
  if (plan.precisions_size() == 0) {
    return {{Precision::FP32, Precision::FP32_PARAMETERS},
            {Precision::BF16, Precision::FP32_PARAMETERS},
            {Precision::BF16, Precision::MASTER_FP32},
            {Precision::FP16, Precision::MASTER_FP32}};
  }
  std::vector<PlannedPrecision> precisions;
  for (const int number : plan.precisions()) {
    const auto mode = static_cast<Precision::Mode>(number);
    precisions.push_back({mode, Precision::FP32_PARAMETERS});
    if (IsLow(mode)) precisions.push_back({mode, Precision::MASTER_FP32});
  }
  return precisions;
}

v1::TrainingSpec InPlanned(const v1::TrainingSpec& training, const PlannedPrecision& precision) {
  v1::TrainingSpec planned = training;
  planned.mutable_precision()->set_mode(precision.mode);
  planned.mutable_precision()->set_storage(precision.storage);
  if (precision.mode == v1::PrecisionSpec::FP32) planned.mutable_precision()->clear_overrides();
  if (!planned.has_accumulation()) planned.set_accumulation(planned.batch_size());
  return planned;
}

PlannedMemory PlanMemory(const v1::TrainingSpec& training, const spec::SampleShape& sample) {
  const v1::PrecisionSpec& precision = training.precision();
  const std::vector<spec::Parameter> parameters = spec::ModelParameters(training.model(), sample);
  const std::optional<WeightStorage> stored = WeightStorageOf(precision, parameters, at::kCPU);
  const spec::ModelBytes bytes = spec::EstimateModelBytes(training, sample);
  const std::int64_t moments = spec::MomentsOf(training.optimizer());

  Groups groups(precision);
  std::int64_t stored_bytes = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t count = parameters[i].elements();
    v1::MemoryRow& row = groups.Of(spec::ModuleTypeName(parameters[i].module));
    const std::int64_t full = Times(count, kFullBytes);
    row.set_parameters(Plus(row.parameters(), count));
    if (stored && stored->parameters[i]) {
      const std::int64_t low = Times(count, kLowBytes);
      row.set_weight_bytes(Plus(row.weight_bytes(), low));
      row.set_master_bytes(Plus(row.master_bytes(), full));
      stored_bytes = Plus(stored_bytes, low);
    } else {
      row.set_weight_bytes(Plus(row.weight_bytes(), full));
    }
    row.set_gradient_bytes(Plus(row.gradient_bytes(), full));
    row.set_optimizer_bytes(Plus(row.optimizer_bytes(), Times(full, moments)));
  }
  if (bytes.buffers > 0) groups.Of(kOther).set_weight_bytes(bytes.buffers);

  PlannedMemory planned;
  planned.groups = groups.Take();
  v1::MemoryTotal& total = planned.total;
  total.set_precision(precision.mode());
  total.set_storage(precision.storage());
  total.set_parameter_bytes(Plus(Plus(bytes.parameters, stored_bytes), bytes.buffers));
  total.set_gradient_bytes(bytes.gradients);
  total.set_optimizer_bytes(bytes.optimizer_state);
  total.set_cast_bytes(bytes.casts - stored_bytes);
  total.set_activation_bytes(bytes.activations);
  total.set_estimated_bytes(bytes.Total());
  return planned;
}

std::int32_t LargestBatch(const v1::MemoryTotal& total, std::int64_t micro_batch, std::int64_t memory_bytes) {
  const std::int64_t fixed = total.estimated_bytes() - total.activation_bytes();
  const std::int64_t of_batch = std::max<std::int64_t>(0, BytesOf(total) - fixed);
  const double of_sample = static_cast<double>(of_batch) / static_cast<double>(micro_batch);
  const auto fits = [&](std::int32_t samples) {
    return static_cast<double>(fixed) + of_sample * samples <= static_cast<double>(memory_bytes);
  };
  if (!fits(1)) return 0;
  std::int32_t samples = 1;
  while (samples < kMostSamples && fits(2 * samples)) samples *= 2;
  return samples;
}

void SetSavedShares(const v1::MemoryTotal& full, v1::MemoryPlanReport& report) {
  for (v1::MemoryTotal& total : *report.mutable_totals()) {
    const bool measured = full.has_measured_bytes() && total.has_measured_bytes();
    const double whole = static_cast<double>(measured ? full.measured_bytes() : full.estimated_bytes());
    const double taken = static_cast<double>(measured ? total.measured_bytes() : total.estimated_bytes());
    if (whole > 0) total.set_saved_share(1 - taken / whole);
  }
}

std::string MemoryFinding(const v1::MemoryPlanReport& report, std::int64_t memory_bytes) {
  if (report.totals_size() == 0) return "Nothing was planned.";
  return absl::StrCat(SavingText(report), MeasuredText(report), BatchText(report, memory_bytes));
}

}  // namespace mantissa::trainer
