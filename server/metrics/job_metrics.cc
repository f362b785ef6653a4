#include "server/metrics/job_metrics.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <optional>
#include <utility>

#include "google/protobuf/util/time_util.h"

namespace mantissa::server {
namespace {

using google::protobuf::util::TimeUtil;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Labels;

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool Ended(v1::Job::State state) {
  return state == v1::Job::SUCCEEDED || state == v1::Job::FAILED || state == v1::Job::CANCELLED;
}

bool Ended(v1::Attempt::State state) {
  return state != v1::Attempt::STATE_UNSPECIFIED && state != v1::Attempt::STARTING && state != v1::Attempt::RUNNING;
}

// Shown at 0 from the start: a counter that appears with its first failure has no increase that an alert could see.
constexpr v1::Reason::Code kOrdinaryFailures[] = {v1::Reason::BAD_SPEC,        v1::Reason::BAD_DATA,
                                                  v1::Reason::NUMERIC_FAILURE, v1::Reason::OUT_OF_DEVICE_MEMORY,
                                                  v1::Reason::DEADLINE,        v1::Reason::CHECKPOINT_FAILED,
                                                  v1::Reason::INTERNAL_ERROR,  v1::Reason::OOM_KILLED,
                                                  v1::Reason::KILLED,          v1::Reason::CRASHED,
                                                  v1::Reason::STALLED,         v1::Reason::START_TIMEOUT,
                                                  v1::Reason::WORKER_STOPPED,  v1::Reason::TRAINER_LOST};

// The newest value of a column, which may be older than the newest row: a skipped iteration has no grad norm.
std::optional<double> LastValue(const v1::Column& column) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      if (!column.floats().values().empty()) return *column.floats().values().rbegin();
      break;
    case v1::Column::kDoubles:
      if (!column.doubles().values().empty()) return *column.doubles().values().rbegin();
      break;
    case v1::Column::kIntegers:
      if (!column.integers().values().empty()) return *column.integers().values().rbegin();
      break;
    default:
      break;
  }
  return std::nullopt;
}

// One family's series of one job: made with its first value, so that a family that the job does not feed (the loss
// scale of a BF16 job) does not show a 0 that nobody measured.
template <typename Metric>
class JobValue {
 public:
  JobValue(Family<Metric>& family, const Labels& labels) : family_(family), labels_(labels) {}
  ~JobValue() {
    if (metric_ != nullptr) family_.Remove(metric_);
  }
  JobValue(const JobValue&) = delete;
  JobValue& operator=(const JobValue&) = delete;

  Metric& operator*() {
    if (metric_ == nullptr) metric_ = &family_.Add(labels_);
    return *metric_;
  }
  Metric* operator->() { return &**this; }

 private:
  Family<Metric>& family_;
  const Labels& labels_;
  Metric* metric_ = nullptr;
};

}  // namespace

// The series of one running job.
class JobMetrics::LiveSeries {
 public:
  LiveSeries(ServerMetrics& metrics, const v1::Job& job)
      : labels_({{"job_id", job.id()}, {"name", job.name()}}),
        step_(metrics.job_step, labels_),
        iteration_(metrics.job_iteration, labels_),
        loss_(metrics.job_loss, labels_),
        loss_scale_(metrics.job_loss_scale, labels_),
        overflows_(metrics.job_overflows, labels_),
        skipped_ratio_(metrics.job_skipped_ratio, labels_),
        grad_norm_(metrics.job_grad_norm, labels_),
        samples_per_second_(metrics.job_samples_per_second, labels_),
        progress_ratio_(metrics.job_progress_ratio, labels_),
        phase_(metrics.job_phase, labels_),
        stability_ratio_(metrics.job_stability_ratio, labels_),
        window_skipped_ratio_(metrics.job_window_skipped_ratio, labels_),
        total_iterations_(job.progress().total_iterations()) {}

  void SetTotalIterations(int32_t total) {
    if (total > 0) total_iterations_ = total;
  }

  void SetPrecision(const v1::PrecisionStats& stats) {
    if (stats.has_stability_score()) stability_ratio_->Set(stats.stability_score());
    window_skipped_ratio_->Set(stats.skipped_ratio());
  }

  void Add(const v1::RecordColumns& records) {
    std::optional<double> iteration, step;
    for (const v1::Column& column : records.columns()) {
      if (column.standard() == v1::Column::SKIP_CAUSE) CountOverflows(column);
      const std::optional<double> last = LastValue(column);
      if (!last) continue;
      switch (column.standard()) {
        case v1::Column::ITERATION:
          iteration = last;
          iteration_->Set(*last);
          break;
        case v1::Column::STEP:
          step = last;
          step_->Set(*last);
          break;
        case v1::Column::LOSS:
          loss_->Set(*last);
          break;
        case v1::Column::LOSS_SCALE:
          loss_scale_->Set(*last);
          overflows_->Increment(0);
          break;
        case v1::Column::GRAD_NORM:
          grad_norm_->Set(*last);
          break;
        case v1::Column::SAMPLES_PER_SECOND:
          samples_per_second_->Set(*last);
          break;
        case v1::Column::PHASE:
          phase_->Set(*last);
          break;
        default:
          break;
      }
    }
    if (!iteration || *iteration <= 0) return;
    if (step) skipped_ratio_->Set(std::clamp((*iteration - *step) / *iteration, 0.0, 1.0));
    if (total_iterations_ > 0) progress_ratio_->Set(std::clamp(*iteration / total_iterations_, 0.0, 1.0));
  }

 private:
  void CountOverflows(const v1::Column& column) {
    const auto& causes = column.integers().values();
    const auto overflows = std::count(causes.begin(), causes.end(), v1::SkipCause::OVERFLOW);
    overflows_->Increment(static_cast<double>(overflows));
  }

  const Labels labels_;
  JobValue<Gauge> step_, iteration_, loss_, loss_scale_;
  JobValue<Counter> overflows_;
  JobValue<Gauge> skipped_ratio_, grad_norm_, samples_per_second_, progress_ratio_, phase_;
  JobValue<Gauge> stability_ratio_, window_skipped_ratio_;
  int32_t total_iterations_;
};

JobMetrics::JobMetrics(ServerMetrics& metrics, JobMetricsOptions options) : metrics_(metrics), options_(options) {
  for (const v1::Job::State state :
       {v1::Job::QUEUED, v1::Job::STARTING, v1::Job::RUNNING, v1::Job::PAUSING, v1::Job::PAUSED, v1::Job::CANCELLING}) {
    StateGauge(state);
  }
  for (const v1::Job::State state : {v1::Job::SUCCEEDED, v1::Job::FAILED, v1::Job::CANCELLED}) {
    metrics_.jobs_ended.Add({{"state", LowerCase(v1::Job::State_Name(state))}});
  }
  EndCounter(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
  EndCounter(v1::Attempt::CANCELLED, v1::Reason::CANCELLED_BY_USER);
  EndCounter(v1::Attempt::LOST, v1::Reason::NODE_LOST);
  for (const v1::Reason::Code reason : kOrdinaryFailures) EndCounter(v1::Attempt::FAILED, reason);
}

JobMetrics::~JobMetrics() = default;

Gauge& JobMetrics::StateGauge(v1::Job::State state) {
  return metrics_.jobs.Add({{"state", LowerCase(v1::Job::State_Name(state))}});
}

Counter& JobMetrics::EndCounter(v1::Attempt::State outcome, v1::Reason::Code reason) {
  return metrics_.attempts_ended.Add(
      {{"outcome", LowerCase(v1::Attempt::State_Name(outcome))}, {"reason", LowerCase(v1::Reason::Code_Name(reason))}});
}

void JobMetrics::Seed(const v1::Job& job) {
  process::MutexLock lock(mutex_);
  SetStateLocked(job);
}

void JobMetrics::CountStateLocked(Known& known, const v1::Job& job) {
  const v1::Job::State before = known.state;
  const bool waited = before == v1::Job::QUEUED, waits = job.state() == v1::Job::QUEUED;
  if (waited) queued_.erase({known.since, &known});
  known.since = process::WallTime(std::chrono::duration_cast<process::WallTime::duration>(
      std::chrono::nanoseconds(TimeUtil::TimestampToNanoseconds(job.state_time()))));
  if (waits) queued_.insert({known.since, &known});
  if (before == job.state()) return;
  if (before != v1::Job::STATE_UNSPECIFIED) StateGauge(before).Decrement();
  known.state = job.state();
  if (!Ended(job.state())) StateGauge(job.state()).Increment();
}

std::optional<process::WallTime> JobMetrics::OldestQueued() const {
  process::MutexLock lock(mutex_);
  if (queued_.empty()) return std::nullopt;
  return queued_.begin()->first;
}

void JobMetrics::SetStateLocked(const v1::Job& job) {
  const auto found = jobs_.try_emplace(job.id()).first;
  Known& known = found->second;
  CountStateLocked(known, job);

  const bool runs = job.state() == v1::Job::RUNNING;
  if (runs && !known.series && live_jobs_ < options_.max_live_jobs) {
    known.series = std::make_unique<LiveSeries>(metrics_, job);
    ++live_jobs_;
  }
  if (known.series && job.progress().has_precision()) known.series->SetPrecision(job.progress().precision());
  if (!runs && known.series) {
    known.series.reset();
    --live_jobs_;
  }
  if (Ended(job.state())) {
    metrics_.jobs_ended.Add({{"state", LowerCase(v1::Job::State_Name(job.state()))}}).Increment();
    jobs_.erase(found);
  }
}

void JobMetrics::ObserveQueueWaitLocked(const v1::Job& job) {
  if (job.state() != v1::Job::STARTING || job.attempt() != 1) return;
  const auto found = jobs_.find(job.id());
  if (found != jobs_.end() && found->second.state == v1::Job::STARTING) return;
  const double waited = TimeUtil::DurationToNanoseconds(job.state_time() - job.create_time()) / 1e9;
  metrics_.queue_wait_seconds.Observe(std::max(0.0, waited));  // the wall clock may have stepped back
}

void JobMetrics::AddTelemetryLocked(const TelemetryWrite& write) {
  const v1::Segment& segment = write.segment;
  metrics_.telemetry_entries_stored.Increment(segment.count());
  if (segment.has_gap()) metrics_.telemetry_gaps.Increment();
  const auto found = jobs_.find(write.job_id);
  if (found == jobs_.end() || !found->second.series) return;
  if (segment.has_records()) found->second.series->Add(segment.records());
  if (segment.event().has_started()) {
    found->second.series->SetTotalIterations(segment.event().started().total_iterations());
  }
}

void JobMetrics::OnCommitted(const Changes& changes) {
  process::MutexLock lock(mutex_);
  // Jobs that begin to run get their series before the records of the same commit, those that end lose them after.
  for (const JobWrite& write : changes.jobs) {
    ObserveQueueWaitLocked(write.job);
    if (!Ended(write.job.state())) SetStateLocked(write.job);
  }
  for (const TelemetryWrite& write : changes.telemetry) AddTelemetryLocked(write);
  for (const JobWrite& write : changes.jobs) {
    if (write.expected_etag.empty()) metrics_.jobs_submitted.Increment();
    // A job that ended before is not known any more, and may still be written.
    const bool ends = Ended(write.job.state()) && (jobs_.contains(write.job.id()) || write.expected_etag.empty());
    if (ends) SetStateLocked(write.job);
  }
  for (const AttemptWrite& write : changes.attempts) {
    const v1::Attempt& attempt = write.attempt;
    if (!Ended(attempt.state())) continue;
    EndCounter(attempt.state(), attempt.reason()).Increment();
  }
  metrics_.lease_expiries.Increment(changes.lease_expiries);
  metrics_.checkpoints_committed.Increment(static_cast<double>(changes.checkpoints.size()));
}

}  // namespace mantissa::server
