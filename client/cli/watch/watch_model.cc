#include "client/cli/watch/watch_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/watch/event_text.h"

namespace mantissa::cli {
namespace {

constexpr std::size_t kRateWindow = 64;  // records that the time left is judged by
constexpr double kSmoothing = 0.1;       // weight of the newest samples_per_second

bool IsEnd(v1::Job::State state) {
  return state == v1::Job::SUCCEEDED || state == v1::Job::FAILED || state == v1::Job::CANCELLED;
}

}  // namespace

void LossCourse::Stretch::Join(const Stretch& next) {
  sum += next.sum;
  finite += next.finite;
  values += next.values;
}

void LossCourse::Halve() {
  const std::size_t half = (stretches_.size() + 1) / 2;
  for (std::size_t i = 0; i < half; ++i) {
    stretches_[i] = stretches_[2 * i];
    if (2 * i + 1 < stretches_.size()) stretches_[i].Join(stretches_[2 * i + 1]);
  }
  stretches_.resize(half);
  length_ *= 2;
}

void LossCourse::Add(double loss, std::size_t records) {
  while (length_ < records) Halve();
  if (stretches_.size() == kMaxPoints && stretches_.back().values >= length_) Halve();
  if (stretches_.empty() || stretches_.back().values >= length_) stretches_.emplace_back();
  stretches_.back().Join(std::isfinite(loss) ? Stretch{loss * static_cast<double>(records), records, records}
                                             : Stretch{0, 0, records});
}

std::vector<double> LossCourse::Points(std::size_t columns) const {
  std::vector<double> result;
  const std::size_t points = std::min(columns, stretches_.size());
  for (std::size_t i = 0; i < points; ++i) {
    Stretch all;
    for (std::size_t j = i * stretches_.size() / points; j < (i + 1) * stretches_.size() / points; ++j) {
      all.Join(stretches_[j]);
    }
    result.push_back(all.finite > 0 ? all.sum / static_cast<double>(all.finite)
                                    : std::numeric_limits<double>::quiet_NaN());
  }
  return result;
}

void WatchModel::SetJob(const v1::Job& job) {
  ApplyJob(job);
  const v1::JobSpec& spec = job.has_resolved_spec() ? job.resolved_spec() : job.spec();
  state_.study = spec.has_study();
  const v1::PrecisionSpec& precision = spec.training().precision();
  state_.submitted_precision = precision.mode();
  if (precision.mode() != v1::PrecisionSpec::MODE_UNSPECIFIED && !job.has_lineage()) {
    state_.precision = precision.mode();
  }
  if (precision.loss_scale().has_growth_interval()) growth_interval_ = precision.loss_scale().growth_interval();
}

void WatchModel::ApplyJob(const v1::Job& job) {
  state_.job_id = ForTerminal(job.id());
  state_.name = ForTerminal(JobName(job));
  state_.job_state = job.state();
  state_.reason = job.reason();
  state_.message = ForTerminal(job.state_message());
  state_.queue_position = job.queue_position();
  state_.attempt = job.attempt();
  if (job.has_lineage()) ApplyLineage(job.lineage());
  const v1::JobProgress& progress = job.progress();
  if (!progress.worker_id().empty()) state_.worker = ForTerminal(progress.worker_id());
  if (!progress.device().empty()) state_.device = ForTerminal(progress.device());
  state_.emulated = progress.emulated();
  if (progress.total_iterations() > 0) state_.total_iterations = progress.total_iterations();
  if (progress.precision().has_stability_score()) state_.stability_score = progress.precision().stability_score();
  // The rows say it better, but a watch that begins now has none yet.
  if (attempt_of_rows_ == 0 && progress.iteration() > 0) {
    state_.iteration = progress.iteration();
    state_.step = progress.step();
    if (progress.has_loss()) state_.loss = progress.loss();
    if (progress.has_loss_scale()) state_.loss_scale = progress.loss_scale();
    if (progress.has_grad_norm()) state_.grad_norm = progress.grad_norm();
    if (progress.has_learning_rate()) state_.learning_rate = progress.learning_rate();
    if (progress.has_samples_per_second()) state_.samples_per_second = progress.samples_per_second();
  }
}

void WatchModel::Apply(const v1::WatchJobResponse& frame) {
  if (frame.has_job()) ApplyJob(frame.job());
  if (frame.has_covers() && last_sequence_ > 0 && frame.covers().from() > last_sequence_ + 1) {
    fold_.Flush(events_);
    events_.push_back({{},
                       v1::JobEvent::WARNING,
                       absl::StrCat("entries ", last_sequence_ + 1, " to ", frame.covers().from() - 1,
                                    " are no longer kept and can't be shown")});
  }
  for (const v1::Segment& segment : frame.segments()) ApplySegment(segment);
  if (frame.has_covers()) last_sequence_ = std::max(last_sequence_, frame.covers().to());
  if (!frame.next_cursor().empty()) next_cursor_ = frame.next_cursor();
  if (frame.live()) state_.live = true;
  if (frame.end() || (IsEnd(state_.job_state) && frame.live())) fold_.Flush(events_);
  if (frame.end()) state_.ended = true;
  state_.folded = fold_.pending();
}

void WatchModel::ApplySegment(const v1::Segment& segment) {
  const std::int64_t first = segment.first_sequence();
  // `first` is 0 only on the way up to the server, so it is always there to compare.
  const std::int64_t seen = std::max<std::int64_t>(0, last_sequence_ - first + 1);
  if (seen >= std::max<std::int64_t>(
                  1, segment.through_sequence() > 0 ? segment.through_sequence() - first + 1 : segment.count())) {
    return;
  }
  switch (segment.body_case()) {
    case v1::Segment::kRecords: {
      BeginAttempt(segment.attempt());
      const std::vector<IterationRow> rows = DecodeRows(segment);
      // Of thinned rows each stands for many: where some of them were seen, the rows are told once more.
      const std::size_t skipped = segment.through_sequence() > 0 ? 0 : static_cast<std::size_t>(seen);
      for (std::size_t i = skipped; i < rows.size(); ++i) ApplyRow(rows[i]);
      break;
    }
    case v1::Segment::kEvent:
      ApplyEvent(segment.event());
      break;
    case v1::Segment::kGap:
      fold_.Flush(events_);
      events_.push_back({{}, v1::JobEvent::WARNING, GapText(segment)});
      break;
    case v1::Segment::BODY_NOT_SET:
      break;
  }
}

void WatchModel::BeginAttempt(std::int32_t attempt) {
  if (attempt == attempt_of_rows_) return;
  attempt_of_rows_ = attempt;
  recent_.clear();
  state_.samples_per_second.reset();
  state_.seconds_left.reset();
}

void WatchModel::ApplyRow(const IterationRow& row) {
  if (row.iteration) {
    state_.iteration = *row.iteration;
    fold_.OnIteration(*row.iteration, events_);
  }
  if (row.step) state_.step = *row.step;
  if (row.loss) {
    state_.loss = *row.loss;
    state_.course.Add(*row.loss, static_cast<std::size_t>(row.records));
  }
  if (row.grad_norm) state_.grad_norm = row.grad_norm;
  if (row.learning_rate) state_.learning_rate = row.learning_rate;
  if (row.loss_scale) state_.loss_scale = row.loss_scale;
  if (row.phase && v1::Phase::Code_IsValid(static_cast<int>(*row.phase))) {
    state_.phase = static_cast<v1::Phase::Code>(*row.phase);
  }
  if (row.growth_tracker && growth_interval_) {
    state_.grows_in = std::max<std::int64_t>(0, *growth_interval_ - *row.growth_tracker);
  }
  UpdateRate(row);
}

void WatchModel::UpdateRate(const IterationRow& row) {
  if (row.samples_per_second && std::isfinite(*row.samples_per_second)) {
    const double newest = *row.samples_per_second;
    state_.samples_per_second = state_.samples_per_second
                                    ? *state_.samples_per_second + kSmoothing * (newest - *state_.samples_per_second)
                                    : newest;
  }
  if (!row.iteration || !row.time_unix_nanos) return;
  recent_.emplace_back(*row.iteration, *row.time_unix_nanos);
  if (recent_.size() > kRateWindow) recent_.pop_front();
  const auto [first_iteration, first_time] = recent_.front();
  const auto [last_iteration, last_time] = recent_.back();
  // A clock that was set back in between says nothing.
  if (last_iteration <= first_iteration || last_time <= first_time || state_.total_iterations == 0) return;
  const double each =
      1e-9 * static_cast<double>(last_time - first_time) / static_cast<double>(last_iteration - first_iteration);
  state_.seconds_left = each * static_cast<double>(std::max<std::int64_t>(0, state_.total_iterations - last_iteration));
}

void WatchModel::ApplyEvent(const v1::JobEvent& event) {
  if (event.detail_case() == v1::JobEvent::kOverflow) {
    if (event.overflow().has_next_loss_scale()) state_.loss_scale = event.overflow().next_loss_scale();
    fold_.OnOverflow(event, events_);
    return;
  }
  if (event.detail_case() == v1::JobEvent::kRanges) return;  // for whoever asks (`mantissa events`): they come often
  fold_.Flush(events_);
  // A study has no records that say it.
  if (state_.study && event.iteration() > 0) state_.iteration = event.iteration();
  switch (event.detail_case()) {
    case v1::JobEvent::kStarted:
      ApplyStarted(event.started());
      break;
    case v1::JobEvent::kScaleChange:
      state_.loss_scale = event.scale_change().to();
      break;
    case v1::JobEvent::kPhaseChange:
      state_.phase = event.phase_change().to();
      break;
    case v1::JobEvent::kIntervention:
      ApplyLineage(event.intervention().lineage());
      state_.grows_in.reset();
      break;
    case v1::JobEvent::kEvaluation: {
      const v1::EvaluationResult& result = event.evaluation();
      Evaluation evaluation;
      evaluation.step = result.step();
      evaluation.loss = result.loss();
      if (result.has_accuracy()) evaluation.accuracy = result.accuracy();
      if (result.has_perplexity()) evaluation.perplexity = result.perplexity();
      state_.evaluation = evaluation;
      break;
    }
    default:
      break;
  }
  events_.push_back({event.time(), event.severity(), EventText(event)});
}

void WatchModel::ApplyLineage(const v1::Lineage& lineage) {
  state_.lineage = lineage.number();
  if (lineage.precision() != v1::PrecisionSpec::MODE_UNSPECIFIED) state_.precision = lineage.precision();
}

void WatchModel::ApplyStarted(const v1::TrainingStarted& started) {
  if (!started.device().empty()) state_.device = ForTerminal(started.device());
  if (started.precision() != v1::PrecisionSpec::MODE_UNSPECIFIED) state_.precision = started.precision();
  if (started.total_iterations() > 0) state_.total_iterations = started.total_iterations();
  state_.emulated = started.emulated();
}

std::vector<EventLine> WatchModel::TakeEvents() { return std::exchange(events_, {}); }

}  // namespace mantissa::cli
