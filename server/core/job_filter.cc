#include "server/core/job_filter.h"

#include <algorithm>

#include "server/core/proto_time.h"

namespace mantissa::server {

bool MatchesButState(const v1::JobFilter& filter, const v1::Job& job) {
  if (!filter.name().empty() && filter.name() != job.name()) return false;
  for (const auto& [name, value] : filter.labels()) {
    const auto label = job.labels().find(name);
    if (label == job.labels().end() || label->second != value) return false;
  }
  const int64_t created = ToMicros(job.create_time());
  if (filter.has_created_after() && created <= ToMicros(filter.created_after())) return false;
  return !filter.has_created_before() || created < ToMicros(filter.created_before());
}

bool Matches(const v1::JobFilter& filter, const v1::Job& job) {
  const auto& states = filter.states();
  const bool state_fits = states.empty() || std::find(states.begin(), states.end(), job.state()) != states.end();
  return state_fits && MatchesButState(filter, job);
}

}  // namespace mantissa::server
