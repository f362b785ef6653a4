#include "worker/trainer/report/run_events.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "proto/spec/overflow_words.h"

namespace mantissa::trainer {
namespace {

constexpr int kMaxNamedParameters = 16;

std::string_view CauseWords(SkipCause cause) {
  switch (cause) {
    case SkipCause::kOverflow:
      return "overflow";
    case SkipCause::kNanForward:
      return "the loss is not finite";
    case SkipCause::kNanBackward:
      return "NaN in the backward pass";
    case SkipCause::kNone:
      break;
  }
  return "no cause";
}

const char* CauseReason(SkipCause cause) {
  switch (cause) {
    case SkipCause::kOverflow:
      return "OVERFLOW";
    case SkipCause::kNanForward:
      return "NAN_FORWARD";
    default:
      return "NAN_BACKWARD";
  }
}

std::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kCalibrating:
      return "CALIBRATING";
    case Phase::kSteady:
      return "STEADY";
    case Phase::kUnstable:
      break;
  }
  return "UNSTABLE";
}

// `head.weight (17 Inf of 1280)`
std::string OffenderWords(const v1::ParameterOverflow& parameter) {
  return absl::StrCat(parameter.name(), " (",
                      spec::CountWords(parameter.inf_count(), parameter.nan_count(), parameter.element_count()), ")");
}

void SetRange(const ValueRange& range, v1::ValueRange& message) {
  message.set_max(range.max);
  message.set_flushed_ratio(range.flushed_ratio);
  message.set_near_max_ratio(range.near_max_ratio);
}

v1::OverflowLocation LocationOf(const FaultLocation& found) {
  v1::OverflowLocation location;
  location.set_stage(static_cast<v1::OverflowLocation::Stage>(found.stage));
  location.set_module(found.module);
  location.set_parameter(found.parameter);
  if (found.stage != FaultLocation::Stage::kNotReproduced) {
    location.set_micro_batch(static_cast<std::int32_t>(found.micro_batch + 1));
  }
  location.set_micro_batches(static_cast<std::int32_t>(found.micro_batches));
  location.set_inf_count(found.inf_count);
  location.set_nan_count(found.nan_count);
  location.set_element_count(found.element_count);
  return location;
}

// As few digits as tell it apart: 65536 and not 6.5536e+04.
std::string Number(double value) { return absl::StrFormat("%.10g", value); }

}  // namespace

v1::JobEvent MakeEvent(std::int64_t time_unix_nanos, v1::JobEvent::Severity severity, const std::string& reason,
                       const std::string& message) {
  constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
  v1::JobEvent event;
  event.mutable_time()->set_seconds(time_unix_nanos / kNanosPerSecond);
  event.mutable_time()->set_nanos(static_cast<std::int32_t>(time_unix_nanos % kNanosPerSecond));
  event.set_severity(severity);
  event.set_reason(reason);
  event.set_message(message);
  return event;
}

v1::JobEvent SkippedEvent(const IterationReport& report, const std::vector<Parameter>& parameters, bool scaled) {
  const IterationRecord& record = report.record;
  v1::JobEvent event = MakeEvent(record.time_unix_nanos, v1::JobEvent::WARNING, CauseReason(record.cause), "");
  event.set_iteration(static_cast<std::int32_t>(record.iteration));
  v1::OverflowEvent& overflow = *event.mutable_overflow();
  overflow.set_cause(static_cast<v1::SkipCause::Code>(record.cause));
  if (scaled) {
    overflow.set_loss_scale(record.loss_scale);
    overflow.set_next_loss_scale(record.next_loss_scale);
  }
  overflow.set_parameter_count(static_cast<std::int32_t>(report.offenders.size()));
  for (const Offender& offender : report.offenders) {
    if (overflow.parameters_size() == kMaxNamedParameters) break;
    const Parameter& parameter = parameters[offender.parameter];
    v1::ParameterOverflow& named = *overflow.add_parameters();
    named.set_name(parameter.shape.path);
    named.set_inf_count(offender.inf_count);
    named.set_nan_count(offender.nan_count);
    named.set_element_count(parameter.shape.elements());
  }
  std::string message =
      absl::StrCat("iteration ", record.iteration, " skipped: ", std::string(CauseWords(record.cause)));
  if (report.location) {
    *overflow.mutable_location() = LocationOf(*report.location);
    absl::StrAppend(&message, ", began in ", spec::LocationWords(overflow.location()));
  } else if (overflow.parameters_size() > 0) {
    absl::StrAppend(&message, ", first in ", OffenderWords(overflow.parameters(0)));
  }
  if (scaled && record.next_loss_scale != record.loss_scale) {
    absl::StrAppend(&message, "; scale ", Number(record.loss_scale), " → ", Number(record.next_loss_scale));
  }
  event.set_message(message);
  return event;
}

v1::JobEvent ScaleGrownEvent(const IterationRecord& record) {
  v1::JobEvent event =
      MakeEvent(record.time_unix_nanos, v1::JobEvent::INFO, "SCALE_GROWN",
                absl::StrCat("scale ", Number(record.loss_scale), " → ", Number(record.next_loss_scale)));
  event.set_iteration(static_cast<std::int32_t>(record.iteration));
  event.mutable_scale_change()->set_from(record.loss_scale);
  event.mutable_scale_change()->set_to(record.next_loss_scale);
  return event;
}

v1::JobEvent PhaseEvent(const IterationRecord& record, Phase from) {
  const bool worse = record.phase == Phase::kUnstable;
  v1::JobEvent event =
      MakeEvent(record.time_unix_nanos, worse ? v1::JobEvent::WARNING : v1::JobEvent::INFO, "PHASE_CHANGED",
                absl::StrCat("precision ", std::string(PhaseName(from)), " → ", std::string(PhaseName(record.phase))));
  event.set_iteration(static_cast<std::int32_t>(record.iteration));
  event.mutable_phase_change()->set_from(static_cast<v1::Phase::Code>(from));
  event.mutable_phase_change()->set_to(static_cast<v1::Phase::Code>(record.phase));
  return event;
}

v1::JobEvent RangesEvent(const IterationRecord& record, const ModuleRanges& ranges, v1::PrecisionSpec::Mode mode,
                         bool scaled) {
  double max_activation = 0, max_gradient = 0, flushed = 0;
  v1::ModuleRanges message;
  message.set_format(mode);
  if (scaled) message.set_loss_scale(ranges.loss_scale);
  message.set_samples(static_cast<std::int32_t>(ranges.samples));
  message.set_module_count(static_cast<std::int32_t>(ranges.module_count));
  for (const ModuleRange& range : ranges.modules) {
    v1::ModuleRange& module = *message.add_modules();
    module.set_module(range.module);
    SetRange(range.activation, *module.mutable_activation());
    SetRange(range.gradient, *module.mutable_gradient());
    max_activation = std::max(max_activation, range.activation.max);
    max_gradient = std::max(max_gradient, range.gradient.max);
    flushed = std::max(flushed, range.gradient.flushed_ratio);
  }
  v1::JobEvent event = MakeEvent(
      record.time_unix_nanos, v1::JobEvent::INFO, "RANGES",
      absl::StrFormat("ranges of %d modules in %s: activations up to %.3g, gradients up to %.3g, at most %.1f %% of a "
                      "module's gradients flushed to zero",
                      ranges.module_count, v1::PrecisionSpec::Mode_Name(mode), max_activation, max_gradient,
                      100 * flushed));
  event.set_iteration(static_cast<std::int32_t>(record.iteration));
  *event.mutable_ranges() = std::move(message);
  return event;
}

v1::JobEvent AdviceEvent(const IterationRecord& record, const Advice& advice) {
  v1::JobEvent event = MakeEvent(record.time_unix_nanos, v1::JobEvent::WARNING, "ADVICE", advice.message);
  event.set_iteration(static_cast<std::int32_t>(record.iteration));
  event.mutable_advice()->set_rule(advice.rule);
  event.mutable_advice()->set_message(advice.message);
  for (const Evidence& evidence : advice.evidence) {
    v1::AdviceEvidence& item = *event.mutable_advice()->add_evidence();
    item.set_name(evidence.name);
    item.set_value(evidence.value);
  }
  return event;
}

v1::JobEvent EvaluationEvent(std::int64_t time_unix_nanos, std::int64_t iteration, const v1::EvaluationResult& result) {
  std::string message = absl::StrFormat("evaluation at step %d: loss %.4f", result.step(), result.loss());
  if (result.has_accuracy()) absl::StrAppendFormat(&message, ", accuracy %.4f", result.accuracy());
  if (result.has_perplexity()) absl::StrAppendFormat(&message, ", perplexity %.3f", result.perplexity());
  v1::JobEvent event = MakeEvent(time_unix_nanos, v1::JobEvent::INFO, "EVALUATED", message);
  event.set_iteration(static_cast<std::int32_t>(iteration));
  *event.mutable_evaluation() = result;
  return event;
}

v1::JobEvent ReclaimedEvent(std::int64_t time_unix_nanos, const absl::StatusOr<ReclaimedCheckpoints>& reclaimed) {
  if (!reclaimed.ok()) {
    return MakeEvent(time_unix_nanos, v1::JobEvent::WARNING, "CHECKPOINTS_NOT_RECLAIMED",
                     absl::StrCat("what earlier attempts left could not be removed: ", reclaimed.status().message(),
                                  "; check the storage of the root named checkpoints"));
  }
  return MakeEvent(time_unix_nanos, v1::JobEvent::INFO, "CHECKPOINTS_RECLAIMED",
                   absl::StrCat("removed ", reclaimed->generations, " unfinished or uncommitted checkpoints (",
                                reclaimed->size_bytes, " bytes) of earlier attempts"));
}

v1::JobEvent MicroBatchEvent(std::int64_t time_unix_nanos, const v1::MicroBatchChosen& chosen) {
  std::string message = absl::StrCat(
      "micro-batches of ", chosen.micro_batch(), chosen.micro_batch() == 1 ? " sample" : " samples", ", accumulation ",
      chosen.accumulation(), ": about ", chosen.estimated_bytes(), " of ", chosen.free_bytes(), " free bytes");
  if (chosen.measured_peak_bytes() > 0) absl::StrAppend(&message, ", ", chosen.measured_peak_bytes(), " measured");
  if (chosen.refused_size() > 0) {
    absl::StrAppend(&message, "; ", absl::StrJoin(chosen.refused(), ", "), " did not fit");
  }
  v1::JobEvent event = MakeEvent(time_unix_nanos, v1::JobEvent::INFO, "MICRO_BATCH_CHOSEN", message);
  *event.mutable_micro_batch() = chosen;
  return event;
}

v1::OverflowEvent OverflowAt(const FaultLocation& location, const v1::OverflowEvent& told) {
  v1::OverflowEvent found;
  if (told.has_loss_scale()) found.set_loss_scale(told.loss_scale());
  *found.mutable_location() = LocationOf(location);
  SkipCause cause = SkipCause::kNanBackward;
  if (location.stage == FaultLocation::Stage::kInput || location.stage == FaultLocation::Stage::kActivation ||
      location.stage == FaultLocation::Stage::kLoss) {
    // What is not finite in the forward pass need not reach the loss; the attempt saw whether it did.
    cause = static_cast<SkipCause>(told.cause());
  } else if (location.inf_count > 0) {
    cause = SkipCause::kOverflow;
  }
  if (location.stage == FaultLocation::Stage::kNotReproduced) cause = SkipCause::kNone;
  found.set_cause(static_cast<v1::SkipCause::Code>(cause));
  return found;
}

v1::JobEvent BundleEvent(std::int64_t time_unix_nanos, std::int64_t iteration,
                         const absl::StatusOr<SavedCheckpoint>& saved) {
  v1::JobEvent event =
      saved.ok()
          ? MakeEvent(time_unix_nanos, v1::JobEvent::INFO, "BUNDLE_SAVED",
                      absl::StrCat("iteration ", iteration,
                                   " is kept whole: its state, samples and plan; fetch "
                                   "it with mantissa bundle once the attempt has ended"))
          : MakeEvent(time_unix_nanos, v1::JobEvent::WARNING, "BUNDLE_NOT_SAVED",
                      absl::StrCat("iteration ", iteration, " could not be kept whole: ", saved.status().message()));
  event.set_iteration(static_cast<std::int32_t>(iteration));
  return event;
}

v1::JobEvent StartedEvent(std::int64_t time_unix_nanos, const v1::TrainingStarted& started) {
  std::string message =
      absl::StrCat("training ", started.parameter_count(), " parameters for ", started.total_iterations(),
                   " iterations on ", started.device(), " in ", v1::PrecisionSpec::Mode_Name(started.precision()));
  if (started.resumed_from_step() > 0) absl::StrAppend(&message, ", from step ", started.resumed_from_step());
  v1::JobEvent event = MakeEvent(time_unix_nanos, v1::JobEvent::INFO, "TRAINING_STARTED", message);
  *event.mutable_started() = started;
  return event;
}

v1::JobEvent CheckpointSavedEvent(std::int64_t time_unix_nanos, std::int64_t iteration,
                                  const v1::CheckpointEvent& checkpoint) {
  v1::JobEvent event = MakeEvent(time_unix_nanos, v1::JobEvent::INFO, "CHECKPOINT_SAVED",
                                 absl::StrFormat("checkpoint %s: %d bytes in %.3f s", checkpoint.name(),
                                                 checkpoint.size_bytes(), checkpoint.seconds()));
  event.set_iteration(static_cast<std::int32_t>(iteration));
  *event.mutable_checkpoint() = checkpoint;
  return event;
}

}  // namespace mantissa::trainer
