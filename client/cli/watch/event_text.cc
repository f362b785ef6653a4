#include "client/cli/watch/event_text.h"

#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/lineage_text.h"
#include "client/cli/output/number_text.h"
#include "proto/spec/overflow_words.h"

namespace mantissa::cli {
namespace {

std::string Cause(v1::SkipCause::Code cause) {
  switch (cause) {
    case v1::SkipCause::NAN_FORWARD:
      return "the loss is not finite";
    case v1::SkipCause::NAN_BACKWARD:
      return "NaN in the gradients";
    default:
      return "overflow";
  }
}

std::string Blame(const v1::OverflowEvent& overflow) {
  if (overflow.has_location()) return ", began in " + spec::LocationWords(overflow.location());
  if (overflow.parameters_size() == 0) return "";
  const v1::ParameterOverflow& first = overflow.parameters(0);
  std::string text = absl::StrCat(", first in ", first.name());
  if (first.inf_count() > 0 || first.nan_count() > 0) {
    absl::StrAppend(&text, " (", spec::CountWords(first.inf_count(), first.nan_count(), first.element_count()), ")");
  }
  if (overflow.parameter_count() > 1) absl::StrAppend(&text, " of ", overflow.parameter_count(), " parameters");
  return text;
}

std::string OverflowText(const v1::JobEvent& event) {
  const v1::OverflowEvent& overflow = event.overflow();
  std::string text =
      absl::StrCat("iteration ", event.iteration(), " skipped: ", Cause(overflow.cause()), Blame(overflow));
  if (!overflow.has_loss_scale()) return text;
  const double scale = overflow.loss_scale();
  const double next = overflow.next_loss_scale();
  if (scale != next) {
    absl::StrAppend(&text, "; scale ", ScaleText(scale), " → ", ScaleText(next));
  } else {
    absl::StrAppend(&text, "; scale stays ", ScaleText(scale));
  }
  return text;
}

std::string StateText(const v1::JobEvent& event) {
  const v1::StateChange& change = event.state_change();
  std::string text = v1::Job::State_Name(change.to());
  if (change.from() != v1::Job::STATE_UNSPECIFIED) {
    text = absl::StrCat(v1::Job::State_Name(change.from()), " → ", text);
  }
  if (!event.message().empty()) return absl::StrCat(text, ": ", event.message());
  if (change.reason() != v1::Reason::REASON_UNSPECIFIED) {
    absl::StrAppend(&text, " (", v1::Reason::Code_Name(change.reason()), ")");
  }
  return text;
}

std::string EvaluationText(const v1::EvaluationResult& result) {
  std::string text = absl::StrCat("evaluation at step ", result.step(), ": loss ", ShortNumber(result.loss()));
  if (result.has_accuracy()) absl::StrAppend(&text, ", accuracy ", ShortNumber(result.accuracy()));
  if (result.has_perplexity()) absl::StrAppend(&text, ", perplexity ", ShortNumber(result.perplexity()));
  return text;
}

std::string CheckpointText(const v1::CheckpointEvent& checkpoint) {
  return absl::StrCat("checkpoint ", checkpoint.name(), " saved (", SizeText(checkpoint.size_bytes()), " in ",
                      SpanText(checkpoint.seconds()), ")");
}

std::string MicroBatchText(const v1::MicroBatchChosen& chosen) {
  std::string text =
      absl::StrCat("micro-batches of ", chosen.micro_batch(), chosen.micro_batch() == 1 ? " sample" : " samples",
                   " (accumulation ", chosen.accumulation(), "): about ", SizeText(chosen.estimated_bytes()), " of ",
                   SizeText(chosen.free_bytes()), " free");
  if (chosen.measured_peak_bytes() > 0) {
    absl::StrAppend(&text, ", ", SizeText(chosen.measured_peak_bytes()), " measured");
  }
  if (chosen.refused_size() > 0) absl::StrAppend(&text, "; ", absl::StrJoin(chosen.refused(), ", "), " did not fit");
  return text;
}

std::string StartedText(const v1::TrainingStarted& started) {
  std::vector<std::string> parts;
  if (started.precision() != v1::PrecisionSpec::MODE_UNSPECIFIED) {
    parts.push_back(PrecisionText(started.precision(), started.precision(), started.emulated()));
  }
  if (started.threads() > 0)
    parts.push_back(absl::StrCat(started.threads(), started.threads() == 1 ? " thread" : " threads"));
  parts.push_back(absl::StrCat(GroupedCount(started.parameter_count()), " parameters"));
  if (started.total_iterations() > 0)
    parts.push_back(absl::StrCat(GroupedCount(started.total_iterations()), " iterations"));
  if (started.accumulation() > 1) parts.push_back(absl::StrCat("micro-batches of ", started.micro_batch()));
  if (started.memory().total() > 0) {
    parts.push_back(
        absl::StrCat("about ", SizeText(started.memory().total()), " of ", SizeText(started.memory().free()), " free"));
  }
  std::string text = absl::StrCat("training on ", started.device(), ": ", absl::StrJoin(parts, ", "));
  if (started.resumed_from_step() > 0) absl::StrAppend(&text, ", resumed from step ", started.resumed_from_step());
  return text;
}

std::string PlainText(const v1::JobEvent& event) {
  if (!event.message().empty()) return event.message();
  return event.reason().empty() ? "an event of a kind that this release does not know" : event.reason();
}

}  // namespace

std::string EventText(const v1::JobEvent& event) {
  const auto text = [&]() -> std::string {
    switch (event.detail_case()) {
      case v1::JobEvent::kStateChange:
        return StateText(event);
      case v1::JobEvent::kOverflow:
        return OverflowText(event);
      case v1::JobEvent::kScaleChange:
        return absl::StrCat("scale ", ScaleText(event.scale_change().from()), " → ",
                            ScaleText(event.scale_change().to()), " after iteration ", event.iteration());
      case v1::JobEvent::kPhaseChange:
        return absl::StrCat("precision ", v1::Phase::Code_Name(event.phase_change().from()), " → ",
                            v1::Phase::Code_Name(event.phase_change().to()));
      case v1::JobEvent::kEvaluation:
        return EvaluationText(event.evaluation());
      case v1::JobEvent::kCheckpoint:
        return CheckpointText(event.checkpoint());
      case v1::JobEvent::kStarted:
        return StartedText(event.started());
      case v1::JobEvent::kIntervention:
      case v1::JobEvent::kRanges:
      case v1::JobEvent::kAdvice:
        return PlainText(event);
      case v1::JobEvent::kMicroBatch:
        return MicroBatchText(event.micro_batch());
      case v1::JobEvent::DETAIL_NOT_SET:
        return PlainText(event);
    }
    return PlainText(event);
  }();
  return ForTerminal(text);
}

std::string GapText(const v1::Segment& segment) {
  const v1::Gap& gap = segment.gap();
  std::string text = gap.from() > 0 && gap.to() > 0
                         ? absl::StrCat("entries ", gap.from(), " to ", gap.to(), " of attempt ", segment.attempt())
                         : absl::StrCat("the last entries of attempt ", segment.attempt());
  absl::StrAppend(&text, " are lost", gap.reason().empty() ? "" : ": ", gap.reason());
  if (gap.summary().records() > 0) {
    absl::StrAppend(&text, " (", gap.summary().records(), " records, iterations ", gap.summary().first_iteration(),
                    " to ", gap.summary().last_iteration(), ")");
  }
  return ForTerminal(text);
}

}  // namespace mantissa::cli
