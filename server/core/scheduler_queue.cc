// How much waits, for whoever decides how many workers there are to be.
#include <algorithm>

#include "server/core/queue_filter.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

template <typename Labels>
bool HasAll(const Labels& labels, const std::map<std::string, std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&labels](const auto& label) {
    const auto found = labels.find(label.first);
    return found != labels.end() && found->second == label.second;
  });
}

bool Admits(const QueueFilter& filter, const JobNeeds& needs) {
  return (filter.devices.empty() || filter.devices.contains(needs.device)) &&
         HasAll(filter.worker_labels, needs.labels);
}

}  // namespace

int64_t Scheduler::CountQueued(const QueueFilter& filter, int64_t most) const {
  int64_t count = 0;
  for (const auto& [key, job_class] : state_->queue.classes()) {
    if (!Admits(filter, job_class.needs)) continue;
    if (filter.labels.empty() && filter.tenant.empty()) {
      count += static_cast<int64_t>(job_class.ready.size());
    } else {
      for (auto place = job_class.ready.begin(); place != job_class.ready.end() && count < most; ++place) {
        const v1::Job& job = state_->jobs.at(std::string(place->second)).job;
        const bool theirs = filter.tenant.empty() || job.tenant() == filter.tenant;
        if (theirs && HasAll(job.labels(), filter.labels)) ++count;
      }
    }
    if (count >= most) return most;
  }
  return count;
}

}  // namespace mantissa::server
