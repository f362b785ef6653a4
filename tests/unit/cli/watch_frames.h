// Frames of a watch, built by hand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

constexpr std::int64_t kNoon = 1767268800;  // 2026-01-01T12:00:00Z

struct Record {
  int iteration = 0;
  int step = 0;
  double loss = 1;
  double scale = 16384;
  std::optional<double> grad_norm = 0.71;
  double learning_rate = 2.1e-3;
  double samples_per_second = 14200;
  v1::Phase::Code phase = v1::Phase::STEADY;
  int growth_tracker = 412;
  std::int64_t nanos = 0;  // after noon
};

inline v1::Segment RecordsSegment(const std::vector<Record>& records, std::int64_t sequence, int attempt = 1) {
  v1::Segment segment;
  segment.set_attempt(attempt);
  segment.set_first_attempt_sequence(sequence);
  segment.set_first_sequence(sequence);
  segment.set_count(static_cast<int>(records.size()));
  const auto column = [&](v1::Column::Standard standard) -> v1::Column& {
    v1::Column& added = *segment.mutable_records()->add_columns();
    added.set_standard(standard);
    return added;
  };
  const auto doubles = [&](v1::Column::Standard standard, auto member) {
    v1::Column& added = column(standard);
    for (const Record& record : records) added.mutable_doubles()->add_values(record.*member);
  };
  const auto integers = [&](v1::Column::Standard standard, auto member) {
    v1::Column& added = column(standard);
    for (const Record& record : records) added.mutable_integers()->add_values(record.*member);
  };
  integers(v1::Column::ITERATION, &Record::iteration);
  integers(v1::Column::STEP, &Record::step);
  doubles(v1::Column::LOSS, &Record::loss);
  doubles(v1::Column::LOSS_SCALE, &Record::scale);
  doubles(v1::Column::LEARNING_RATE, &Record::learning_rate);
  doubles(v1::Column::SAMPLES_PER_SECOND, &Record::samples_per_second);
  integers(v1::Column::PHASE, &Record::phase);
  integers(v1::Column::GROWTH_TRACKER, &Record::growth_tracker);
  v1::Column& times = column(v1::Column::TIME_UNIX_NANOS);
  v1::Column& norms = column(v1::Column::GRAD_NORM);
  norms.set_present(std::string((records.size() + 7) / 8, '\0'));
  for (std::size_t i = 0; i < records.size(); ++i) {
    times.mutable_integers()->add_values(kNoon * 1'000'000'000 + records[i].nanos);
    if (!records[i].grad_norm) continue;
    norms.mutable_doubles()->add_values(*records[i].grad_norm);
    (*norms.mutable_present())[i / 8] = static_cast<char>((*norms.mutable_present())[i / 8] | (1 << (i % 8)));
  }
  return segment;
}

inline v1::Segment EventSegment(const v1::JobEvent& event, std::int64_t sequence, int attempt = 1) {
  v1::Segment segment;
  segment.set_attempt(attempt);
  segment.set_first_sequence(sequence);
  segment.set_count(1);
  *segment.mutable_event() = event;
  return segment;
}

inline v1::JobEvent OverflowEventAt(int iteration, double scale, double next, int seconds = 67) {
  v1::JobEvent event;
  event.mutable_time()->set_seconds(kNoon + seconds);
  event.set_severity(v1::JobEvent::WARNING);
  event.set_reason("OVERFLOW");
  event.set_iteration(iteration);
  v1::OverflowEvent& overflow = *event.mutable_overflow();
  overflow.set_cause(v1::SkipCause::OVERFLOW);
  overflow.set_loss_scale(scale);
  overflow.set_next_loss_scale(next);
  v1::ParameterOverflow& parameter = *overflow.add_parameters();
  parameter.set_name("head.weight");
  parameter.set_inf_count(17);
  parameter.set_element_count(1280);
  overflow.set_parameter_count(1);
  return event;
}

inline v1::JobEvent StartedEvent(int total_iterations = 690) {
  v1::JobEvent event;
  event.mutable_time()->set_seconds(kNoon + 60);
  event.set_severity(v1::JobEvent::INFO);
  v1::TrainingStarted& started = *event.mutable_started();
  started.set_device("cpu");
  started.set_precision(v1::PrecisionSpec::FP16);
  started.set_threads(1);
  started.set_parameter_count(9610);
  started.set_total_iterations(total_iterations);
  return event;
}

// The second lineage: on in BF16.
inline v1::Lineage FallenBack() {
  v1::Lineage lineage;
  lineage.set_number(2);
  lineage.set_precision(v1::PrecisionSpec::BF16);
  lineage.set_learning_rate_factor(1);
  return lineage;
}

inline v1::JobEvent FallbackEvent() {
  v1::JobEvent event;
  event.mutable_time()->set_seconds(kNoon + 68);
  event.set_severity(v1::JobEvent::WARNING);
  event.set_reason("FALLBACK");
  event.set_message("falls back from FP16 to BF16 at generation 0: iterations 1 to 3 were skipped");
  event.mutable_intervention()->set_attempt(1);
  *event.mutable_intervention()->mutable_lineage() = FallenBack();
  return event;
}

inline v1::JobEvent EvaluationEvent(int step, double accuracy) {
  v1::JobEvent event;
  event.mutable_time()->set_seconds(kNoon + 65);
  event.mutable_evaluation()->set_step(step);
  event.mutable_evaluation()->set_loss(0.15);
  event.mutable_evaluation()->set_accuracy(accuracy);
  return event;
}

// Segments with their covers and a cursor that names the last sequence.
inline v1::WatchJobResponse Frame(const std::vector<v1::Segment>& segments) {
  v1::WatchJobResponse frame;
  std::int64_t from = 0, to = 0;
  for (const v1::Segment& segment : segments) {
    *frame.add_segments() = segment;
    if (from == 0) from = segment.first_sequence();
    to = segment.first_sequence() + segment.count() - 1;
  }
  if (from > 0) {
    frame.mutable_covers()->set_from(from);
    frame.mutable_covers()->set_to(to);
    frame.set_next_cursor("after-" + std::to_string(to));
  }
  return frame;
}

inline v1::Job ExampleJob(v1::Job::State state = v1::Job::RUNNING) {
  v1::Job job;
  job.set_id("01jdgts000000000000000000a");
  job.set_name("digits-fp16");
  job.mutable_spec()->set_name(job.name());
  *job.mutable_resolved_spec() = job.spec();
  v1::PrecisionSpec& precision = *job.mutable_resolved_spec()->mutable_training()->mutable_precision();
  precision.set_mode(v1::PrecisionSpec::FP16);
  precision.mutable_loss_scale()->set_growth_interval(2000);
  job.set_state(state);
  job.set_attempt(state == v1::Job::QUEUED ? 0 : 1);
  if (state != v1::Job::QUEUED) {
    job.mutable_progress()->set_worker_id("ws-1");
    job.mutable_progress()->set_device("cpu");
  }
  return job;
}

inline v1::WatchJobResponse JobFrame(const v1::Job& job) {
  v1::WatchJobResponse frame;
  *frame.mutable_job() = job;
  frame.mutable_job()->clear_spec();
  frame.mutable_job()->clear_resolved_spec();
  return frame;
}

inline v1::WatchJobResponse EndFrame(const v1::Job& job) {
  v1::WatchJobResponse frame = JobFrame(job);
  frame.set_end(true);
  return frame;
}

}  // namespace mantissa::cli
