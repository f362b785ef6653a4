#include "worker/agent/exporters/export_lane.h"

#include <algorithm>
#include <utility>

#include "process/log.h"
#include "worker/agent/forward/telemetry_segment.h"

namespace mantissa::agent {
namespace {

using process::Level;
using process::Log;
using process::MutexLock;

// What an item costs beyond its payload.
constexpr std::size_t kItemBytes = 256;

bool MaySucceedLater(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

}  // namespace

ExportLane::ExportLane(std::unique_ptr<Exporter> exporter, ExportOptions options, prometheus::Counter& failures,
                       prometheus::Counter& dropped_points)
    : options_(options),
      exporter_(std::move(exporter)),
      failures_(failures),
      dropped_points_(dropped_points),
      thread_([this] { Run(); }) {}

ExportLane::~ExportLane() {
  {
    MutexLock lock(mutex_);
    closing_ = true;
    changed_.NotifyAll();
    const auto deadline = std::chrono::steady_clock::now() + options_.close_grace;
    while (!idle_ && changed_.WaitUntil(mutex_, deadline)) {
    }
    aborted_ = true;
  }
  exporter_->Abort();
  changed_.NotifyAll();
  thread_.join();
}

void ExportLane::Begin(const ExportedAttempt& attempt) {
  std::size_t bytes = kItemBytes + attempt.name.size();
  for (const auto& [key, value] : attempt.parameters) bytes += key.size() + value.size();
  Push({attempt.key, attempt, bytes});
}

void ExportLane::Add(const AttemptKey& key, std::shared_ptr<const v1::TelemetryBatch> batch) {
  const std::size_t bytes = kItemBytes + batch->ByteSizeLong();
  Push({key, Batches{std::move(batch)}, bytes});
}

void ExportLane::End(const AttemptKey& key, v1::Attempt::State state) { Push({key, Ending{state}, kItemBytes}); }

void ExportLane::Push(Item item) {
  {
    MutexLock lock(mutex_);
    queued_bytes_ += item.bytes;
    queue_.push_back(std::move(item));
    while (queued_bytes_ > options_.max_queued_bytes && queue_.size() > 1) DropOldestLocked();
  }
  changed_.NotifyAll();
}

// Records first; then whatever is oldest, so that the bound holds though a tool is away for weeks.
void ExportLane::DropOldestLocked() {
  auto oldest = std::find_if(queue_.begin(), queue_.end(),
                             [](const Item& item) { return std::holds_alternative<Batches>(item.what); });
  if (oldest == queue_.end()) oldest = queue_.begin();
  if (const auto* batches = std::get_if<Batches>(&oldest->what)) dropped_points_.Increment(RecordsOf(*batches));
  queued_bytes_ -= oldest->bytes;
  queue_.erase(oldest);
}

std::optional<ExportLane::Item> ExportLane::Next() {
  MutexLock lock(mutex_);
  while (queue_.empty() && !closing_ && !aborted_) changed_.Wait(mutex_);
  if (queue_.empty() || aborted_) {
    idle_ = true;
    changed_.NotifyAll();
    return std::nullopt;
  }
  Item item = std::move(queue_.front());
  queue_.pop_front();
  queued_bytes_ -= item.bytes;
  while (auto* const batches = std::get_if<Batches>(&item.what)) {
    if (queue_.empty() || queue_.front().key != item.key || item.bytes >= options_.max_call_bytes) break;
    auto* const behind = std::get_if<Batches>(&queue_.front().what);
    if (behind == nullptr) break;
    batches->push_back(std::move(behind->front()));
    item.bytes += queue_.front().bytes;
    queued_bytes_ -= queue_.front().bytes;
    queue_.pop_front();
  }
  return item;
}

double ExportLane::RecordsOf(const Batches& batches) {
  int records = 0;
  for (const auto& batch : batches) {
    for (const v1::Segment& segment : batch->segments()) records += segment.has_records() ? segment.count() : 0;
  }
  return records;
}

void ExportLane::Run() {
  while (const std::optional<Item> item = Next()) Work(*item);
}

void ExportLane::Work(const Item& item) {
  if (const auto* attempt = std::get_if<ExportedAttempt>(&item.what)) {
    const absl::Status begun = Insist(item.key, [&] { return exporter_->Begin(*attempt); });
    if (begun.ok()) open_.try_emplace(item.key, options_.interval);
    return;
  }
  const auto found = open_.find(item.key);
  if (found == open_.end()) {  // given up, or its beginning was dropped
    if (const auto* batches = std::get_if<Batches>(&item.what)) dropped_points_.Increment(RecordsOf(*batches));
    return;
  }
  std::vector<ExportPoint> points;
  const auto* ending = std::get_if<Ending>(&item.what);
  if (ending == nullptr) {
    for (const auto& batch : std::get<Batches>(item.what)) {
      for (const v1::Segment& segment : batch->segments()) {
        if (CheckSegment(segment).ok()) found->second.Take(PointsOf(segment), points);
      }
    }
  } else {
    found->second.Finish(points);
  }
  absl::Status sent = absl::OkStatus();
  if (!points.empty()) sent = Insist(item.key, [&] { return exporter_->Add(item.key, points); });
  if (!sent.ok()) dropped_points_.Increment(static_cast<double>(points.size()));
  if (ending != nullptr) {
    if (sent.ok()) Insist(item.key, [&] { return exporter_->End(item.key, ending->state); }).IgnoreError();
    open_.erase(item.key);
  } else if (!sent.ok()) {
    open_.erase(item.key);
  }
}

template <typename Call>
absl::Status ExportLane::Insist(const AttemptKey& key, Call call) {
  Backoff backoff(options_.first_retry, options_.last_retry);
  while (true) {
    const absl::Status done = call();
    if (done.ok()) {
      if (std::exchange(failing_, false))
        Log(Level::kInfo, "an exporter works again", {{"exporter", exporter_->name()}});
      return done;
    }
    failures_.Increment();
    if (!MaySucceedLater(done)) {
      GiveUp(key, done);
      return done;
    }
    if (!std::exchange(failing_, true)) {
      Log(Level::kWarning, "an exporter fails; jobs are not touched by that, and it is tried again until it works",
          {{"exporter", exporter_->name()}, {"job", key.job_id}, {"attempt", key.attempt}, {"error", done}});
    }
    if (!WaitFor(backoff.Next())) return done;
  }
}

bool ExportLane::WaitFor(std::chrono::milliseconds time) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  MutexLock lock(mutex_);
  // More than one retry is no way to spend the grace: what is queued behind it would not go either.
  while (!aborted_ && !closing_) {
    if (!changed_.WaitUntil(mutex_, deadline)) return true;
  }
  return false;
}

void ExportLane::GiveUp(const AttemptKey& key, const absl::Status& why) {
  Log(Level::kWarning, "an exporter gives an attempt up; the job is not touched by that",
      {{"exporter", exporter_->name()}, {"job", key.job_id}, {"attempt", key.attempt}, {"error", why}});
}

}  // namespace mantissa::agent
