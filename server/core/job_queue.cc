#include "server/core/job_queue.h"

#include <algorithm>

namespace mantissa::server {

void JobQueue::Add(const std::string& job_id, int64_t rank) {
  if (!entries_.try_emplace(job_id, Entry{rank, "", false}).second) return;
  order_.insert({rank, job_id});
}

void JobQueue::Remove(const std::string& job_id) {
  auto entry = entries_.find(job_id);
  if (entry == entries_.end()) return;
  const std::pair<int64_t, std::string> key(entry->second.rank, job_id);
  order_.erase(key);
  if (entry->second.ready) {
    auto job_class = classes_.find(entry->second.class_key);
    job_class->second.ready.erase(key);
    if (job_class->second.ready.empty()) classes_.erase(job_class);
  }
  entries_.erase(entry);
}

void JobQueue::MakeReady(const std::string& job_id, const JobNeeds& needs) {
  auto entry = entries_.find(job_id);
  if (entry == entries_.end() || entry->second.ready) return;
  entry->second.ready = true;
  entry->second.class_key = needs.ClassKey();
  Class& job_class = classes_[entry->second.class_key];
  if (job_class.ready.empty()) job_class.needs = needs;
  job_class.ready.insert({entry->second.rank, job_id});
}

int32_t JobQueue::Position(const std::string& job_id) const {
  auto entry = entries_.find(job_id);
  if (entry == entries_.end()) return 0;
  return static_cast<int32_t>(order_.order_of_key({entry->second.rank, job_id})) + 1;
}

const std::string* JobQueue::ClassKeyOf(const std::string& job_id) const {
  auto entry = entries_.find(job_id);
  return entry == entries_.end() || !entry->second.ready ? nullptr : &entry->second.class_key;
}

std::vector<const std::pair<const std::string, JobQueue::Class>*> JobQueue::Heads() const {
  std::vector<const std::pair<const std::string, Class>*> heads;
  heads.reserve(classes_.size());
  for (const auto& job_class : classes_) heads.push_back(&job_class);
  std::sort(heads.begin(), heads.end(),
            [](const auto* a, const auto* b) { return *a->second.ready.begin() < *b->second.ready.begin(); });
  return heads;
}

}  // namespace mantissa::server
