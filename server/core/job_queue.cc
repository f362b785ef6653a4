#include "server/core/job_queue.h"

#include <algorithm>

namespace mantissa::server {

void JobQueue::Add(const std::string& job_id, int64_t rank, const std::string& tenant) {
  const auto [entry, is_new] = entries_.try_emplace(job_id, Entry{rank});
  if (!is_new) return;
  order_.insert({rank, entry->first});
  entry->second.its_tenant = &*tenants_.try_emplace(tenant, 0).first;
  ++entry->second.its_tenant->second;
}

int64_t JobQueue::SizeOf(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second;
}

void JobQueue::Remove(const std::string& job_id) {
  auto entry = entries_.find(job_id);
  if (entry == entries_.end()) return;
  const Place place(entry->second.rank, entry->first);
  order_.erase(place);
  if (Classes::value_type* const its_class = entry->second.its_class) {
    its_class->second.ready.erase(place);
    if (its_class->second.ready.empty()) classes_.erase(classes_.find(its_class->first));
  }
  Counts::value_type* const its_tenant = entry->second.its_tenant;
  if (--its_tenant->second == 0) tenants_.erase(tenants_.find(its_tenant->first));
  entries_.erase(entry);
}

void JobQueue::MakeReady(const std::string& job_id, const JobNeeds& needs) {
  auto entry = entries_.find(job_id);
  if (entry == entries_.end() || entry->second.its_class) return;
  auto [its_class, is_new] = classes_.try_emplace(needs.ClassKey());
  if (is_new) its_class->second.needs = needs;
  its_class->second.ready.insert({entry->second.rank, entry->first});
  entry->second.its_class = &*its_class;
}

int32_t JobQueue::Position(const std::string& job_id) const {
  auto entry = entries_.find(job_id);
  if (entry == entries_.end()) return 0;
  return static_cast<int32_t>(order_.order_of_key({entry->second.rank, entry->first})) + 1;
}

const std::string* JobQueue::ClassKeyOf(const std::string& job_id) const {
  auto entry = entries_.find(job_id);
  return entry == entries_.end() || !entry->second.its_class ? nullptr : &entry->second.its_class->first;
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
