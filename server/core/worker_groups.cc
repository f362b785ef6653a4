#include "server/core/worker_groups.h"

#include <iterator>
#include <utility>

namespace mantissa::server {

void WorkerGroups::Put(const std::string& id, const std::string& kind, const std::set<std::string>& storage_ids,
                       const Burden& burden) {
  const auto [found, is_new] = places_.try_emplace(id);
  Place& place = found->second;
  Place next{kind, storage_ids, burden};
  if (!is_new) {
    if (place == next) return;
    Drop(id, place);
  }
  place = std::move(next);
  Add(all_, id, place);
  for (const std::string& storage_id : storage_ids) Add(by_storage_[storage_id], id, place);
  if (burden.free != 0) ++free_workers_;
}

void WorkerGroups::Remove(const std::string& id) {
  const auto place = places_.find(id);
  if (place == places_.end()) return;
  Drop(id, place->second);
  places_.erase(place);
}

bool WorkerGroups::Holds(const std::string& id, const std::string& kind, const std::set<std::string>& storage_ids,
                         const Burden& burden) const {
  const auto place = places_.find(id);
  return place != places_.end() && place->second == Place{kind, storage_ids, burden};
}

std::vector<std::string> WorkerGroups::Candidates(const std::set<std::string>& storage_ids, const std::string& kept,
                                                  bool busy) const {
  std::set<std::string> ids;
  Firsts(all_, kept, busy, ids);
  for (const std::string& storage_id : storage_ids) {
    const auto groups = by_storage_.find(storage_id);
    if (groups != by_storage_.end()) Firsts(groups->second, kept, /*busy=*/true, ids);
  }
  return {ids.begin(), ids.end()};
}

void WorkerGroups::Add(Groups& groups, const std::string& id, const Place& place) {
  groups[place.kind][place.burden].insert(id);
}

void WorkerGroups::Drop(Groups& groups, const std::string& id, const Place& place) {
  const auto kind = groups.find(place.kind);
  const auto group = kind->second.find(place.burden);
  group->second.erase(id);
  if (group->second.empty()) kind->second.erase(group);
  if (kind->second.empty()) groups.erase(kind);
}

void WorkerGroups::Firsts(const Groups& groups, const std::string& kept, bool busy, std::set<std::string>& ids) {
  for (const auto& [kind, burdens] : groups) {
    for (const auto& [burden, group] : burdens) {
      if (burden.free == 0 && !busy) continue;
      ids.insert(*group.begin());
      if (*group.begin() == kept && group.size() > 1) ids.insert(*std::next(group.begin()));
    }
  }
}

void WorkerGroups::Drop(const std::string& id, const Place& place) {
  Drop(all_, id, place);
  for (const std::string& storage_id : place.storage_ids) {
    const auto groups = by_storage_.find(storage_id);
    Drop(groups->second, id, place);
    if (groups->second.empty()) by_storage_.erase(groups);
  }
  if (place.burden.free != 0) --free_workers_;
}

}  // namespace mantissa::server
