#include "client/cli/watch/watch_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/lineage_text.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

constexpr int kMaxBar = 40;
constexpr int kMinBar = 8;
// Room kept right of the bar, so that its length does not dance with the digits: ` 100 %   12:45 left   14.2k
// samples/s`.
constexpr int kRightOfBar = 40;
// A paragraph is hard to read in longer lines, where no terminal bounds them.
constexpr int kFindingWidth = 100;

bool IsWaiting(v1::Job::State state) { return state == v1::Job::QUEUED || state == v1::Job::PAUSED; }

Style PhaseStyle(v1::Phase::Code phase) {
  if (phase == v1::Phase::STEADY) return Style::kGood;
  return phase == v1::Phase::UNSTABLE ? Style::kBad : Style::kWarn;
}

StyledLine Header(const WatchState& state) {
  StyledLine line;
  line.Add(0, {{state.name, Style::kBold}});
  line.Add(0, {{v1::Job::State_Name(state.job_state), StyleOf(state.job_state)}});
  if (IsWaiting(state.job_state)) {
    if (state.queue_position > 0) line.Add(1, {{absl::StrCat("position ", state.queue_position, " in the queue")}});
    if (!state.message.empty()) {
      line.Add(2, {{state.message}});
    } else if (state.reason != v1::Reason::REASON_UNSPECIFIED) {
      line.Add(2, {{v1::Reason::Code_Name(state.reason)}});
    }
    return line;
  }
  std::string place = state.attempt > 0 ? absl::StrCat("attempt ", state.attempt) : "";
  if (!state.worker.empty()) absl::StrAppend(&place, place.empty() ? "on " : " on ", state.worker);
  if (!state.device.empty()) absl::StrAppend(&place, place.empty() ? "" : " · ", state.device);
  if (state.precision != v1::PrecisionSpec::MODE_UNSPECIFIED) {
    absl::StrAppend(&place, place.empty() ? "" : " · ",
                    PrecisionText(state.submitted_precision, state.precision, state.emulated));
  }
  if (state.lineage > 1) absl::StrAppend(&place, place.empty() ? "" : " · ", "lineage ", state.lineage);
  if (!place.empty()) line.Add(1, {{place}});
  return line;
}

// What progress counts.
std::string Counted(const WatchState& state) { return state.study ? "case " : "iteration "; }

StyledLine Progress(const WatchState& state, const ViewOptions& options) {
  StyledLine line;
  if (state.total_iterations <= 0) {
    line.Add(0, {{absl::StrCat(Counted(state), state.iteration)}});
  } else {
    const std::string total = std::to_string(state.total_iterations);
    const std::string count = absl::StrCat(
        Counted(state), PadLeft(std::to_string(state.iteration), static_cast<int>(total.size())), "/", total);
    const double ratio = static_cast<double>(state.iteration) / static_cast<double>(state.total_iterations);
    const int percent = static_cast<int>(100 * std::clamp(ratio, 0.0, 1.0));
    const int room = options.width - static_cast<int>(count.size()) - 2 - kRightOfBar;
    std::vector<Span> spans = {{count + " "}};
    for (Span& span : Bar(ratio, std::clamp(room, kMinBar, kMaxBar))) spans.push_back(std::move(span));
    spans.push_back({absl::StrCat(" ", PadLeft(std::to_string(percent), 3), " %")});
    line.Add(0, std::move(spans));
    if (state.seconds_left && !state.ended && state.iteration < state.total_iterations) {
      const auto left = std::chrono::seconds(static_cast<std::int64_t>(std::min(std::ceil(*state.seconds_left), 1e9)));
      line.Add(1, {{ClockSpan(left) + " left"}});
    }
  }
  if (state.samples_per_second) line.Add(2, {{CompactCount(*state.samples_per_second) + " samples/s"}});
  return line;
}

StyledLine Learning(const WatchState& state, const ViewOptions& options) {
  StyledLine line;
  if (state.loss) {
    std::vector<Span> spans = {{"loss "},
                               {ShortNumber(*state.loss), std::isfinite(*state.loss) ? Style::kBold : Style::kBad}};
    const std::vector<double> points = state.course.Points(options.width >= 120 ? 32 : options.width >= 60 ? 8 : 0);
    if (points.size() > 1) spans.push_back({" " + Sparkline(points), Style::kAccent});
    line.Add(0, std::move(spans));
  }
  if (state.evaluation) {
    const Evaluation& evaluation = *state.evaluation;
    const auto [what, value] = evaluation.accuracy     ? std::pair{"accuracy", *evaluation.accuracy}
                               : evaluation.perplexity ? std::pair{"perplexity", *evaluation.perplexity}
                                                       : std::pair{"loss", evaluation.loss};
    line.Add(1, {{absl::StrCat("eval ", what, " ")}, {ShortNumber(value), Style::kBold}});
  }
  if (state.grad_norm) {
    line.Add(2, {{absl::StrCat("grad norm ", ShortNumber(*state.grad_norm)),
                  std::isfinite(*state.grad_norm) ? Style::kPlain : Style::kBad}});
  }
  if (state.learning_rate) line.Add(3, {{absl::StrCat("lr ", ShortNumber(*state.learning_rate))}});
  return line;
}

StyledLine Precision(const WatchState& state, const ViewOptions& options) {
  StyledLine line;
  if (state.loss_scale && state.precision != v1::PrecisionSpec::BF16 && state.precision != v1::PrecisionSpec::FP32) {
    std::vector<Span> spans = {{"scale "}, {ScaleText(*state.loss_scale), Style::kBold}};
    line.Add(0, std::move(spans));
    if (state.grows_in) {
      line.Join(3, {{absl::StrCat(", grows in ", *state.grows_in, *state.grows_in == 1 ? " step" : " steps")}});
    }
  }
  // Every iteration either applied its update or was skipped.
  const std::int64_t skipped = std::max<std::int64_t>(0, state.iteration - state.step);
  const double ratio = state.iteration > 0 ? static_cast<double>(skipped) / static_cast<double>(state.iteration) : 0;
  line.Add(1, {{options.width < 60 ? "" : absl::StrCat("applied ", state.step, ", ")},
               {absl::StrCat("skipped ", skipped, skipped > 0 ? absl::StrCat(" (", Percent(ratio), ")") : ""),
                skipped > 0 ? Style::kWarn : Style::kPlain}});
  if (state.phase != v1::Phase::PHASE_UNSPECIFIED) {
    line.Add(2, {{v1::Phase::Code_Name(state.phase), PhaseStyle(state.phase)}});
  }
  if (state.stability_score) line.Add(3, {{absl::StrCat("stability ", ShortNumber(*state.stability_score, 4))}});
  return line;
}

Style SeverityStyle(v1::JobEvent::Severity severity) {
  if (severity == v1::JobEvent::ERROR) return Style::kBad;
  return severity == v1::JobEvent::WARNING ? Style::kWarn : Style::kPlain;
}

}  // namespace

Style StyleOf(v1::Job::State state) {
  switch (state) {
    case v1::Job::RUNNING:
    case v1::Job::SUCCEEDED:
      return Style::kGood;
    case v1::Job::FAILED:
      return Style::kBad;
    default:
      return Style::kWarn;
  }
}

std::string Percent(double ratio) {
  const double percent = 100 * ratio;
  if (percent > 0 && percent < 0.05) return "<0.1 %";
  const double rounded = percent < 9.95 ? std::round(10 * percent) / 10 : std::round(percent);
  return absl::StrCat(rounded, " %");
}

std::vector<Span> Bar(double ratio, int columns) {
  const int halves = static_cast<int>(std::clamp(ratio, 0.0, 1.0) * 2 * columns);
  std::string done, left;
  for (int i = 0; i < halves / 2; ++i) done += "━";
  if (halves % 2 == 1) done += "╸";
  for (int i = (halves + 1) / 2; i < columns; ++i) left += "─";
  return {{done, Style::kAccent}, {left, Style::kDim}};
}

std::string ResultText(const v1::JobResult& result) {
  std::string text;
  const auto add = [&](std::string_view name, double value) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", std::string(name), " ",
                    ShortNumber(value, name == "eval accuracy" ? 4 : 3));
  };
  if (result.has_eval_accuracy()) add("eval accuracy", result.eval_accuracy());
  if (result.has_eval_perplexity()) add("eval perplexity", result.eval_perplexity());
  if (result.has_eval_loss()) add("eval loss", result.eval_loss());
  if (result.has_loss()) add("loss", result.loss());
  return text;
}

std::string Sparkline(const std::vector<double>& points) {
  static constexpr std::array<std::string_view, 8> kHeights = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const double point : points) {
    if (!std::isfinite(point)) continue;
    low = std::min(low, point);
    high = std::max(high, point);
  }
  std::string text;
  for (const double point : points) {
    if (!std::isfinite(point)) {
      text += "×";
      continue;
    }
    const double height = high > low ? (point - low) / (high - low) * 7 : 0;
    text += kHeights[static_cast<std::size_t>(std::clamp(std::lround(height), 0L, 7L))];
  }
  return text;
}

std::vector<std::string> RenderBlock(const WatchState& state, const ViewOptions& options,
                                     const std::optional<std::string>& notice) {
  std::vector<StyledLine> lines = {Header(state)};
  if (state.iteration > 0) {
    lines.push_back(Progress(state, options));
    lines.push_back(Learning(state, options));
    if (!state.study) lines.push_back(Precision(state, options));
  }
  if (state.folded) lines.emplace_back().Add(0, {{*state.folded + " …", Style::kWarn}});
  if (notice) lines.emplace_back().Add(0, {{*notice, Style::kWarn}});
  std::vector<std::string> result;
  for (const StyledLine& line : lines) {
    if (!line.empty()) result.push_back(line.Text(options));
  }
  return result;
}

std::vector<std::string> RenderEvent(const EventLine& event, const ViewOptions& options) {
  const bool timed = event.time.seconds() != 0 || event.time.nanos() != 0;
  const std::string time = timed ? LocalClock(event.time) : std::string(8, ' ');
  const int room = std::max(20, options.width - 10);
  std::vector<std::string> lines;
  for (const std::string& part : WrapWords(options.utf8 ? event.text : ToAscii(event.text), room)) {
    const std::string head = lines.empty() ? Styled({time, Style::kDim}, options.color) : std::string(8, ' ');
    lines.push_back(absl::StrCat(head, "  ", Styled({part, SeverityStyle(event.severity)}, options.color)));
  }
  return lines;
}

std::string RenderProgressLine(const WatchState& state) {
  std::string text = v1::Job::State_Name(state.job_state);
  if (state.iteration == 0) return state.message.empty() ? text : absl::StrCat(text, "  ", state.message);
  text = absl::StrCat(Counted(state), state.iteration);
  if (state.total_iterations > 0) {
    absl::StrAppend(
        &text, "/", state.total_iterations, " (",
        static_cast<int>(100.0 * static_cast<double>(state.iteration) / static_cast<double>(state.total_iterations)),
        " %)");
  }
  if (state.loss) absl::StrAppend(&text, "  loss ", ShortNumber(*state.loss));
  if (state.loss_scale && state.precision == v1::PrecisionSpec::FP16) {
    absl::StrAppend(&text, "  scale ", ScaleText(*state.loss_scale));
  }
  if (!state.study) absl::StrAppend(&text, "  skipped ", std::max<std::int64_t>(0, state.iteration - state.step));
  if (state.samples_per_second) absl::StrAppend(&text, "  ", CompactCount(*state.samples_per_second), " samples/s");
  if (state.seconds_left && state.iteration < state.total_iterations) {
    const auto left = std::chrono::seconds(static_cast<std::int64_t>(std::min(std::ceil(*state.seconds_left), 1e9)));
    absl::StrAppend(&text, "  ", ClockSpan(left), " left");
  }
  return text;
}

namespace {

StyledLine Numbers(const v1::JobResult& result) {
  StyledLine line;
  const double ratio =
      result.iterations() > 0 ? static_cast<double>(result.skipped_iterations()) / result.iterations() : 0;
  line.Add(0, {{absl::StrCat("iterations ", result.iterations(), ", applied ", result.steps(), ", skipped ",
                             result.skipped_iterations(),
                             result.skipped_iterations() > 0 ? absl::StrCat(" (", Percent(ratio), ")") : "")}});
  if (result.has_loss_scale() && result.precision() == v1::PrecisionSpec::FP16) {
    line.Add(1, {{absl::StrCat("final scale ", ScaleText(result.loss_scale()))}});
  }
  if (result.precision() != v1::PrecisionSpec::MODE_UNSPECIFIED) {
    line.Add(2, {{PrecisionText(result.precision(), result.precision(), result.emulated())}});
  }
  if (result.has_training_time()) line.Add(1, {{"trained for " + SpanText(Seconds(result.training_time()))}});
  if (result.has_samples_per_second()) line.Add(2, {{CompactCount(result.samples_per_second()) + " samples/s"}});
  return line;
}

}  // namespace

std::vector<std::string> RenderSummary(const v1::Job& job, const ViewOptions& options, const std::string& address) {
  const std::string name = ForTerminal(JobName(job));
  std::vector<std::string> lines;
  StyledLine head;
  head.Add(0, {{name, Style::kBold}});
  head.Add(0, {{v1::Job::State_Name(job.state()), StyleOf(job.state())}});
  const std::string result = ResultText(job.result());
  if (job.state() == v1::Job::SUCCEEDED && !result.empty()) head.Add(1, {{result}});
  if (job.state() != v1::Job::SUCCEEDED && job.reason() != v1::Reason::REASON_UNSPECIFIED) {
    head.Add(1, {{v1::Reason::Code_Name(job.reason())}});
  }
  lines.push_back(head.Text(options));
  // A message that tells what to do is worth its lines: wrapped, never cut.
  if (job.state() != v1::Job::SUCCEEDED && !job.state_message().empty()) {
    const std::string message = ForTerminal(job.state_message());
    for (const std::string& part :
         WrapWords(options.utf8 ? message : ToAscii(message), std::max(20, options.width - 2))) {
      lines.push_back("  " + part);
    }
  }
  const bool study = job.resolved_spec().has_study();
  if (!job.result().finding().empty()) {
    const std::string finding = ForTerminal(job.result().finding());
    for (const std::string& part : WrapWords(options.utf8 ? finding : ToAscii(finding),
                                             std::max(20, std::min(options.width, kFindingWidth) - 2))) {
      lines.push_back("  " + part);
    }
  }
  if (job.result().iterations() > 0 && !study) {
    StyledLine numbers = Numbers(job.result());
    ViewOptions inner = options;
    inner.width -= 2;
    lines.push_back("  " + numbers.Text(inner));
  }
  if (!job.result().finding().empty()) {
    lines.push_back(absl::StrCat("  its report: mantissa report ", job.id(), address));
  }
  if (job.state() == v1::Job::SUCCEEDED && !study) {
    lines.push_back(absl::StrCat("  get the model: mantissa download ", job.id(), address));
  } else if (job.state() == v1::Job::FAILED) {
    lines.push_back(absl::StrCat("  its log: mantissa logs ", job.id(), address));
    const bool kept = job.reason() == v1::Reason::NUMERIC_FAILURE || job.reason() == v1::Reason::SCALE_AT_MINIMUM;
    if (kept && job.resolved_spec().training().checkpoint().bundle() != v1::CheckpointSpec::NEVER) {
      lines.push_back(absl::StrCat("  to replay its failure: mantissa bundle ", job.id(), address));
    }
  }
  return lines;
}

}  // namespace mantissa::cli
