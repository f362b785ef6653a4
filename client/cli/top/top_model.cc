#include "client/cli/top/top_model.h"

#include <algorithm>

namespace mantissa::cli {
namespace {

using v1::Job;

// A pace is taken over at least this long, once the job has run for it.
constexpr std::int64_t kPaceMicros = 15'000'000;
constexpr std::int64_t kLeastPaceMicros = 1'000'000;

std::int64_t Micros(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1'000'000 + time.nanos() / 1'000;
}

bool IsEnd(Job::State state) { return std::find(EndStates().begin(), EndStates().end(), state) != EndStates().end(); }

bool Waits(Job::State state) { return state == Job::QUEUED || state == Job::PAUSED; }

}  // namespace

const std::vector<Job::State>& LiveStates() {
  static const std::vector<Job::State> states = {Job::RUNNING,    Job::STARTING, Job::PAUSING,
                                                 Job::CANCELLING, Job::QUEUED,   Job::PAUSED};
  return states;
}

const std::vector<Job::State>& EndStates() {
  static const std::vector<Job::State> states = {Job::SUCCEEDED, Job::FAILED, Job::CANCELLED};
  return states;
}

void TopModel::Apply(const v1::WatchJobsResponse& frame, process::WallTime now) {
  if (anew_) live_.clear();
  anew_ = false;
  watched_ = true;
  for (const Job& job : frame.jobs()) {
    if (Put(job) && IsEnd(job.state())) ends_.push_back(now);
  }
  while (!ends_.empty() && now - ends_.front() >= kMinute) ends_.pop_front();
}

void TopModel::AddListed(const v1::ListJobsResponse& page) {
  for (const Job& job : page.jobs()) Put(job);
}

bool TopModel::Put(const Job& job) {
  const auto ended = ended_at_.find(job.id());
  if (job.state() == Job::STATE_UNSPECIFIED) {  // deleted
    live_.erase(job.id());
    if (ended == ended_at_.end()) return false;
    ended_.erase({ended->second, job.id()});
    ended_at_.erase(ended);
    return true;
  }
  if (ended != ended_at_.end()) return false;
  if (!IsEnd(job.state())) {
    Live& live = live_[job.id()];
    MovePace(job, live);
    live.job = job;
    return true;
  }
  live_.erase(job.id());
  const std::int64_t at = Micros(job.end_time());
  ended_.emplace(std::pair(at, job.id()), job);
  ended_at_.emplace(job.id(), at);
  if (ended_.size() > kMostEnded) {
    ended_at_.erase(ended_.begin()->first.second);
    ended_.erase(ended_.begin());
  }
  return true;
}

void TopModel::MovePace(const Job& job, Live& live) {
  const Mark mark = {Micros(job.progress().time()), job.progress().iteration()};
  const bool goes_on = job.state() == Job::RUNNING && job.attempt() == live.job.attempt() &&
                       live.job.state() == Job::RUNNING && mark.iteration >= live.newer.iteration;
  if (!goes_on) {
    live.older = live.newer = mark;
  } else if (mark.micros - live.newer.micros >= kPaceMicros) {
    live.older = live.newer;
    live.newer = mark;
  }
}

std::optional<double> TopModel::SecondsLeft(const Live& live) {
  const v1::JobProgress& progress = live.job.progress();
  if (live.job.state() != Job::RUNNING || progress.iteration() >= progress.total_iterations()) return std::nullopt;
  Mark from = live.older;
  const std::int64_t now = Micros(progress.time());
  // What was not watched long enough has its whole life to go by, if that was one attempt.
  if (now - from.micros < kLeastPaceMicros && live.job.attempt() == 1) from = {Micros(live.job.start_time()), 0};
  const std::int64_t micros = now - from.micros;
  const std::int32_t iterations = progress.iteration() - from.iteration;
  if (micros < kLeastPaceMicros || iterations <= 0) return std::nullopt;
  return 1e-6 * static_cast<double>(micros) / iterations * (progress.total_iterations() - progress.iteration());
}

void TopModel::SetWorkers(const v1::ListWorkersResponse& response) {
  workers_.clear();
  for (const v1::Worker& worker : response.workers()) workers_[worker.id()] = worker;
}

TopState TopModel::State(process::WallTime now, std::size_t most) const {
  TopState state;
  state.address = address_;
  state.now = now;
  std::vector<Job> paused;
  for (const auto& [id, live] : live_) {
    const Job::State is = live.job.state();
    ++state.live[is];
    if (!Waits(is) && state.running.size() < most) state.running.push_back({live.job, SecondsLeft(live)});
    if (is == Job::QUEUED && state.waiting.size() < most) state.waiting.push_back(live.job);
    if (is == Job::PAUSED && paused.size() < most) paused.push_back(live.job);
  }
  for (Job& job : paused) {
    if (state.waiting.size() < most) state.waiting.push_back(std::move(job));
  }
  if (watched_) {
    state.ended_in_last_minute =
        std::count_if(ends_.begin(), ends_.end(), [&](process::WallTime end) { return now - end < kMinute; });
  }
  for (const auto& [id, worker] : workers_) state.workers.push_back(worker);
  for (auto job = ended_.rbegin(); job != ended_.rend() && state.ended.size() < most; ++job) {
    state.ended.push_back(job->second);
  }
  return state;
}

}  // namespace mantissa::cli
