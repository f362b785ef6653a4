#include "server/telemetry/telemetry_hub.h"

#include <algorithm>
#include <set>
#include <utility>

#include "server/core/telemetry_segment.h"

namespace mantissa::server {

using process::MutexLock;

EncodedSegment EncodeSegment(const v1::Segment& segment) {
  auto bytes = std::make_shared<std::string>();
  AppendEncoded(segment, *bytes);
  return {segment.first_sequence(), LastSequence(segment), segment.has_records(), std::move(bytes)};
}

bool HasEnded(v1::Job::State state) {
  return state == v1::Job::SUCCEEDED || state == v1::Job::FAILED || state == v1::Job::CANCELLED;
}

v1::Job BasicView(const v1::Job& job) {
  v1::Job basic = job;
  basic.clear_spec();
  basic.clear_resolved_spec();
  return basic;
}

void TelemetryHub::Ring::SetJob(const v1::Job& changed) {
  const bool same = job && job->state() == changed.state() && job->reason() == changed.reason() &&
                    job->attempt() == changed.attempt();
  job = std::make_shared<const v1::Job>(BasicView(changed));
  if (!same) ++job_version;
}

std::deque<EncodedSegment>::const_iterator TelemetryHub::Ring::At(int64_t from) const {
  const auto next =
      std::lower_bound(segments.begin(), segments.end(), from,
                       [](const EncodedSegment& segment, int64_t sequence) { return segment.from < sequence; });
  return next == segments.end() || next->from != from ? segments.end() : next;
}

void TelemetryHub::OnCommitted(const Changes& changes) {
  // Ordered, so that encoding, the costly part, is done outside the lock and only for jobs that are watched.
  std::set<std::string> watched;
  {
    MutexLock lock(mutex_);
    for (const TelemetryWrite& write : changes.telemetry) {
      if (rings_.contains(write.job_id)) watched.insert(write.job_id);
    }
    for (const JobWrite& write : changes.jobs) {
      if (rings_.contains(write.job.id())) watched.insert(write.job.id());
    }
  }
  if (watched.empty()) return;

  std::vector<std::pair<const std::string*, EncodedSegment>> encoded;
  for (const TelemetryWrite& write : changes.telemetry) {
    if (watched.contains(write.job_id)) encoded.emplace_back(&write.job_id, EncodeSegment(write.segment));
  }
  {
    MutexLock lock(mutex_);
    for (auto& [job_id, segment] : encoded) {
      const auto found = rings_.find(*job_id);
      if (found == rings_.end()) continue;  // the last watcher left meanwhile
      Ring& ring = found->second;
      // A ring made between two commits may have begun after a sequence that a later one continues; a hole, which only
      // a ring that was left and taken up again could have, would hide entries, so it starts anew.
      if (!ring.segments.empty() && ring.segments.back().to + 1 != segment.from) {
        ring.segments.clear();
        ring.bytes = 0;
      }
      ring.last = std::max(ring.last, segment.to);
      ring.bytes += static_cast<int64_t>(segment.frame->size());
      ring.segments.push_back(std::move(segment));
      while (ring.bytes > options_.ring_bytes && ring.segments.size() > 1) {
        ring.bytes -= static_cast<int64_t>(ring.segments.front().frame->size());
        ring.segments.pop_front();
      }
    }
    // After the entries: who sees the end of a job sees every entry before it.
    for (const JobWrite& write : changes.jobs) {
      const auto found = rings_.find(write.job.id());
      if (found != rings_.end()) found->second.SetJob(write.job);
    }
  }
  for (const std::string& job_id : watched) signal_.Notify(job_id);
}

int64_t TelemetryHub::followers() const {
  MutexLock lock(mutex_);
  return followers_;
}

TelemetryHub::Follower::Follower(TelemetryHub& hub, std::string job_id, std::shared_ptr<Wakeable> sleeper)
    : hub_(hub), job_id_(std::move(job_id)), subscription_(hub.signal_, job_id_, std::move(sleeper)) {
  MutexLock lock(hub_.mutex_);
  ++hub_.rings_[job_id_].followers;
  ++hub_.followers_;
}

TelemetryHub::Follower::~Follower() {
  MutexLock lock(hub_.mutex_);
  --hub_.followers_;
  const auto found = hub_.rings_.find(job_id_);
  if (--found->second.followers == 0) hub_.rings_.erase(found);
}

void TelemetryHub::Follower::Learn(const v1::Job& job, int64_t last_sequence) {
  MutexLock lock(hub_.mutex_);
  Ring& ring = hub_.rings_.find(job_id_)->second;
  ring.last = std::max(ring.last, last_sequence);
  // A commit that was heard is as new as what was read, or newer; but ends are final wherever they are seen.
  if (!ring.job || (HasEnded(job.state()) && !HasEnded(ring.job->state()))) ring.SetJob(job);
}

bool TelemetryHub::Follower::Has(int64_t from) const {
  MutexLock lock(hub_.mutex_);
  const Ring& ring = hub_.rings_.find(job_id_)->second;
  return from > ring.last || ring.At(from) != ring.segments.end();
}

TelemetryHub::View TelemetryHub::Follower::Look(int64_t from, int max_segments, int64_t max_bytes) const {
  View view;
  MutexLock lock(hub_.mutex_);
  const Ring& ring = hub_.rings_.find(job_id_)->second;
  view.last = ring.last;
  view.job = ring.job;
  view.job_version = ring.job_version;
  int64_t bytes = 0;
  for (auto next = ring.At(from);
       next != ring.segments.end() && static_cast<int>(view.segments.size()) < max_segments && bytes < max_bytes;
       ++next) {
    bytes += static_cast<int64_t>(next->frame->size());
    view.segments.push_back(*next);
  }
  return view;
}

}  // namespace mantissa::server
