// What numbers a format has, and what becomes of values and of a model's gradients in it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/ATen.h>

#include "worker/studies/number_format.h"
#include "worker/studies/report/format_finding.h"
#include "worker/studies/run/study_run.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {
namespace {

using Format = v1::NumberFormat;

double LargestFinite(std::span<const double> values) {
  double largest = 0;
  for (const double value : values) {
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

// Elements by what becomes of them.
struct Outcomes {
  std::int64_t underflow = 0;
  std::int64_t subnormal = 0;
  std::int64_t overflow = 0;

  void Add(const NumberRounding& rounding, double value) {
    switch (rounding.OutcomeOf(value)) {
      case v1::RoundedValue::UNDERFLOW:
        ++underflow;
        break;
      case v1::RoundedValue::OVERFLOW:
      case v1::RoundedValue::OUT_OF_RANGE:
        ++overflow;
        break;
      default:
        if (std::fabs(value) < rounding.smallest_normal()) ++subnormal;
    }
  }
};

class FormatTable {
 public:
  FormatTable(const v1::FormatTable& spec, const StudyEnvironment& environment, StudyObserver& observer,
              v1::Report& report)
      : spec_(spec), environment_(environment), observer_(observer), report_(report) {
    for (const int code : spec.formats()) {
      const auto format = static_cast<Format::Code>(code);
      if (std::find(formats_.begin(), formats_.end(), format) == formats_.end()) formats_.push_back(format);
    }
  }

  absl::Status Run() {
    FillNumbers();
    if (absl::Status done = spec_.iterations() > 0 ? FillGradients() : absl::OkStatus(); !done.ok()) return done;
    if (spec_.iterations() == 0) StudyProgress(1, observer_).Done("formats and values");
    report_.set_finding(FormatFinding(result(), spec_.iterations(), spec_.loss_scale()));
    return absl::OkStatus();
  }

 private:
  v1::FormatTableReport& result() { return *report_.mutable_format_table(); }

  void FillNumbers() {
    const double largest = LargestFinite({spec_.values().data(), static_cast<std::size_t>(spec_.values_size())});
    for (const Format::Code format : formats_) {
      *result().add_formats() = DescribeFormat(format, largest);
      const NumberRounding rounding(format, largest);
      for (const double value : spec_.values()) *result().add_values() = RoundedValueOf(format, rounding, value);
    }
  }

  // Those of the iteration after the ones that are asked for, with a loss scale of 1: the model trains in FP32.
  absl::Status FillGradients() {
    auto training = PrepareTraining(spec_.training(), "study.format_table.training", environment_);
    if (!training.ok()) return training.status();
    const std::int64_t iterations = std::int64_t{spec_.iterations()} + 1;
    StudyProgress progress(PartsOf(iterations) + static_cast<std::int64_t>(formats_.size()), observer_);
    StudyRun run(*training, InPrecision(training->spec, v1::PrecisionSpec::FP32), environment_);
    if (TrainInParts(run, iterations, "FP32", progress, observer_)) {
      RoundGradients(run.state().model().parameters(), progress);
      if (std::find(formats_.begin(), formats_.end(), Format::INT8) != formats_.end()) {
        report_.add_limits(
            "The steps of INT8 are set for each parameter by itself; one scale for all would lose more.");
      }
    } else if (!run.failure().empty()) {
      report_.add_limits(absl::StrCat("There are no gradients: the run failed, ", run.failure(), "."));
      progress.Done("there are no gradients to round", static_cast<std::int64_t>(formats_.size()));
    }
    if (observer_.stop_requested() && result().gradients_size() < static_cast<int>(formats_.size())) {
      report_.set_partial(true);
      report_.add_limits(absl::StrCat("It was stopped: gradients were rounded into ", result().gradients_size(), " of ",
                                      formats_.size(), " formats."));
    }
    report_.add_limits(absl::StrCat("Gradients are those of one iteration, the one after ", spec_.iterations(),
                                    "; gradient_analysis looks at a longer run."));
    return absl::OkStatus();
  }

  void RoundGradients(const ParameterBuffer& parameters, StudyProgress& progress) {
    const at::Tensor gradients = parameters.gradients().cpu();
    std::int64_t nonfinite = 0;
    for (const Format::Code format : formats_) {
      nonfinite = 0;
      if (observer_.stop_requested()) return;
      std::int64_t elements = 0;
      std::int64_t zeros = 0;
      Outcomes plain;
      Outcomes scaled;
      for (const Parameter& parameter : parameters.parameters()) {
        const std::span<const float> values(gradients.const_data_ptr<float>() + parameter.offset,
                                            static_cast<std::size_t>(parameter.value.numel()));
        // INT8's steps are set for each parameter by itself, and follow the scale.
        const std::vector<double> wide(values.begin(), values.end());
        const double largest = LargestFinite(wide);
        const NumberRounding rounding(format, largest);
        const NumberRounding rounding_scaled(format, largest * spec_.loss_scale());
        for (const double value : wide) {
          ++elements;
          if (value == 0) ++zeros;
          if (!std::isfinite(value)) ++nonfinite;
          if (value == 0 || !std::isfinite(value)) continue;
          plain.Add(rounding, value);
          scaled.Add(rounding_scaled, value * spec_.loss_scale());
        }
      }
      FillRow(format, elements, zeros, nonfinite, plain, scaled);
      progress.Done(absl::StrCat("gradients in ", Format::Code_Name(format)));
    }
    if (nonfinite > 0) {
      report_.add_limits(
          absl::StrCat(nonfinite, " elements of the gradients are not finite in FP32 already; they are in no share."));
    }
  }

  void FillRow(Format::Code format, std::int64_t elements, std::int64_t zeros, std::int64_t nonfinite,
               const Outcomes& plain, const Outcomes& scaled) {
    v1::FormatGradients& row = *result().add_gradients();
    row.set_format(format);
    row.set_elements(elements);
    row.set_exact_zero_share(static_cast<double>(zeros) / static_cast<double>(elements));
    const std::int64_t counted = elements - zeros - nonfinite;
    if (counted == 0) return;
    const auto share = [&](std::int64_t count) { return static_cast<double>(count) / static_cast<double>(counted); };
    row.set_underflow_share(share(plain.underflow));
    row.set_subnormal_share(share(plain.subnormal));
    row.set_overflow_share(share(plain.overflow));
    row.set_scaled_underflow_share(share(scaled.underflow));
    row.set_scaled_subnormal_share(share(scaled.subnormal));
    row.set_scaled_overflow_share(share(scaled.overflow));
  }

  const v1::FormatTable& spec_;
  const StudyEnvironment& environment_;
  StudyObserver& observer_;
  v1::Report& report_;
  std::vector<Format::Code> formats_;
};

}  // namespace

absl::Status RunFormatTable(const v1::FormatTable& spec, const StudyEnvironment& environment, StudyObserver& observer,
                            v1::Report& report) {
  return FormatTable(spec, environment, observer, report).Run();
}

}  // namespace mantissa::trainer
