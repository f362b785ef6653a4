#include "client/cli/advise/throughput_rule.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"

#include "client/cli/advise/model_products.h"
#include "client/cli/advise/precision_choice.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

using Comparison = v1::PrecisionComparisonReport;
using Kind = v1::StudySpec::KindCase;
using Mode = v1::PrecisionSpec;

constexpr double kWorthwhile = 1.05;  // gains of padding below it are within what timing says from run to run

std::string NameOf(v1::PrecisionSpec::Mode mode) { return v1::PrecisionSpec::Mode_Name(mode); }

void Change(const std::string& field, std::int64_t from, std::int64_t to, std::vector<SpecChange>& changes) {
  for (const SpecChange& change : changes) {
    if (change.field == field) return;
  }
  changes.push_back({field, std::to_string(from), std::to_string(to)});
}

std::string RowText(const v1::PrecisionRow& row) {
  std::string text = absl::StrCat(NameOf(row.precision()), ": ", Comparison::Verdict_Name(row.verdict()));
  if (row.has_speedup()) absl::StrAppend(&text, ", ", ShortNumber(row.speedup()), " times FP32's speed");
  if (row.has_speedup_low()) {
    absl::StrAppend(&text, " (", ShortNumber(row.speedup_low()), " to ", ShortNumber(row.speedup_high()), ")");
  }
  if (row.has_distance()) absl::StrAppend(&text, ", its loss ", ShortNumber(row.distance()), " from FP32's");
  if (row.has_distance() && row.has_noise())
    absl::StrAppend(&text, ", where seeds differ by ", ShortNumber(row.noise()));
  const bool bad = row.verdict() == Comparison::FAILED || row.verdict() == Comparison::UNSUPPORTED;
  if (bad && !row.note().empty()) absl::StrAppend(&text, ": ", row.note());
  return text;
}

// What could not be told is added to `unknown`, a sentence each; so in the functions below.
void AnswerSpeed(const v1::TrainingSpec& training, const StudyFindings& findings, RuleAnswer& answer,
                 std::vector<std::string>& unknown) {
  const v1::PrecisionComparisonReport* comparison = findings.comparison();
  if (comparison == nullptr) {
    unknown.push_back(findings.WhyNone(Kind::kPrecisionComparison));
    return;
  }
  for (const v1::PrecisionRow& row : comparison->precisions()) answer.evidence.push_back(RowText(row));
  const v1::PrecisionSpec::Mode now = training.precision().mode();
  const v1::PrecisionSpec::Mode best = BestMode(training, findings);
  if (comparison->recommended() == Mode::MODE_UNSPECIFIED) {
    unknown.push_back(comparison->reasons_size() > 0 ? comparison->reasons(0) : "no precision could be recommended");
  } else if (best != now) {
    answer.changes = ModeChanges(training.precision(), best);
  } else if (comparison->recommended() != now) {
    answer.evidence.push_back(absl::StrCat(NameOf(comparison->recommended()), " is no faster than ", NameOf(now),
                                           " by more than the intervals"));
  }
}

const v1::MemoryTotal* TotalOf(const v1::MemoryPlanReport& memory, v1::PrecisionSpec::Mode mode,
                               v1::PrecisionSpec::Storage storage) {
  const v1::MemoryTotal* found = nullptr;
  for (const v1::MemoryTotal& total : memory.totals()) {
    if (total.precision() != mode) continue;
    if (found == nullptr || total.storage() == storage) found = &total;
  }
  return found;
}

void AnswerMemory(const v1::JobSpec& job, const StudyFindings& findings, RuleAnswer& answer,
                  std::vector<std::string>& unknown) {
  if (findings.memory() == nullptr) {
    unknown.push_back(findings.WhyNone(Kind::kMemoryPlan));
    return;
  }
  const v1::TrainingSpec& training = job.training();
  const v1::PrecisionSpec::Mode mode = BestMode(training, findings);
  const v1::MemoryTotal* total = TotalOf(*findings.memory(), mode, training.precision().storage());
  if (total == nullptr) {
    answer.evidence.push_back(absl::StrCat("memory_plan says nothing of ", NameOf(mode)));
    return;
  }
  const std::int64_t bytes = total->has_measured_bytes() ? total->measured_bytes() : total->estimated_bytes();
  std::string line = absl::StrCat(NameOf(mode), " takes ", SizeText(bytes),
                                  total->has_measured_bytes() ? ", measured" : ", estimated");
  if (total->has_largest_batch()) absl::StrAppend(&line, "; at most ", total->largest_batch(), " samples fit at once");
  answer.evidence.push_back(std::move(line));
  if (!total->has_largest_batch()) return;
  const std::int64_t largest = total->largest_batch();
  if (largest == 0) {
    const bool cpu = findings.on_cpu();
    Change(cpu ? "resources.memory_bytes" : "resources.gpu.min_memory_bytes",
           cpu ? job.resources().memory_bytes() : job.resources().gpu().min_memory_bytes(), bytes, answer.changes);
  } else if (MicroBatchOf(training) > largest && training.micro_batch() != v1::MicroBatch::AUTO) {
    Change("training.accumulation", std::max(1, training.accumulation()),
           (std::int64_t{training.batch_size()} + largest - 1) / largest, answer.changes);
  }
}

std::int64_t RoundedUp(std::int64_t size, std::int64_t unit) { return (size + unit - 1) / unit * unit; }

// Of heads that divide the width, the padded one's too.
std::int64_t UnitOf(const v1::TrainingSpec& training, const std::string& field, std::int64_t unit) {
  if (field.ends_with("gpt.d_model")) return std::lcm(unit, std::max(1, training.model().gpt().heads()));
  if (field.ends_with("encoder.d_model")) {
    return std::lcm(unit, std::max(1, training.model().transformer_encoder().heads()));
  }
  return unit;
}

void PadWidth(const v1::TrainingSpec& training, std::int32_t width, std::int64_t unit, RuleAnswer& answer) {
  if (width % unit == 0) return;
  const std::string field = FieldOfWidth(training, width);
  if (field.empty()) {
    answer.evidence.push_back(absl::StrCat(width, " is a size of the data, which the spec does not set"));
  } else {
    Change(field, width, RoundedUp(width, UnitOf(training, field, unit)), answer.changes);
  }
}

void AnswerPadding(const v1::TrainingSpec& training, const StudyFindings& findings, RuleAnswer& answer,
                   std::vector<std::string>& unknown) {
  if (!findings.WasPlanned(Kind::kTensorCore)) {
    answer.evidence.push_back(
        "padding was not tried: the sizes of the model's products are in its data files, or it has none");
    return;
  }
  if (findings.products() == nullptr) {
    unknown.push_back(findings.WhyNone(Kind::kTensorCore));
    return;
  }
  if (findings.on_cpu()) {
    answer.evidence.push_back("a CPU has no tensor cores: what padding would gain on a GPU is not known from here");
    return;
  }
  const v1::PrecisionSpec::Mode mode = BestMode(training, findings);
  const std::int64_t unit = mode == Mode::FP16 || mode == Mode::BF16 ? 8 : 4;
  int seen = 0;
  int launches = 0;
  bool pays = false;
  for (const v1::TensorCoreRow& row : findings.products()->products()) {
    if (row.precision() != mode) continue;
    if (row.has_median_seconds() && !row.has_tflops()) {
      ++launches;
      continue;
    }
    ++seen;
    if (row.aligned() || row.padding_gain() <= kWorthwhile) continue;
    pays = true;
    answer.evidence.push_back(absl::StrCat("(", row.m(), ", ", row.k(), ") times (", row.k(), ", ", row.n(),
                                           "): padded to multiples of ", unit, ", ", ShortNumber(row.padding_gain()),
                                           " times as fast"));
    PadWidth(training, row.n(), unit, answer);
    PadWidth(training, row.k(), unit, answer);
    const std::int64_t micro_batch = MicroBatchOf(training);
    if (row.m() % unit != 0) {
      Change("training.batch_size", training.batch_size(),
             RoundedUp(micro_batch, unit) * std::max(1, training.accumulation()), answer.changes);
    }
  }
  if (launches > 0) {
    answer.evidence.push_back(absl::StrCat(launches, launches == 1 ? " product" : " products", " in ", NameOf(mode),
                                           " took no longer than a launch: what padding gains there is not known"));
  }
  if (seen + launches == 0) {
    unknown.push_back(absl::StrCat("tensor_core timed nothing in ", NameOf(mode)));
  } else if (!pays && seen > 0) {
    answer.evidence.push_back(absl::StrCat("of ", seen, " products in ", NameOf(mode), ", padding pays for none"));
  }
}

}  // namespace

void AnswerThroughput(const v1::JobSpec& job, const StudyFindings& findings, RuleAnswer& answer) {
  std::vector<std::string> unknown;
  AnswerSpeed(job.training(), findings, answer, unknown);
  AnswerMemory(job, findings, answer, unknown);
  AnswerPadding(job.training(), findings, answer, unknown);
  if (!answer.changes.empty()) {
    answer.answer = RuleAnswer::Answer::kChange;
    answer.reason = "the device gives more with it, or it does not fit as it is";
    for (std::string& line : unknown) answer.evidence.push_back(std::move(line));
  } else if (!unknown.empty()) {
    answer.answer = RuleAnswer::Answer::kUnknown;
    answer.reason = unknown.front();
    answer.evidence.insert(answer.evidence.end(), unknown.begin() + 1, unknown.end());
  } else {
    answer.reason = "nothing that was tried is faster here and trains as well, and it fits";
  }
}

}  // namespace mantissa::cli
