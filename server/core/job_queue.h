// The jobs that wait, in the order they are to be served.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ext/pb_ds/assoc_container.hpp>
#include <ext/pb_ds/tree_policy.hpp>

#include "server/core/job_needs.h"

namespace mantissa::server {

// By rank, then by id. Jobs with equal needs stand in one class, and
// only the first of each class is a candidate for placement, so that a decision costs the number of classes and not the
// number of jobs.
//
// Not thread-safe.
class JobQueue {
 public:
  struct Class {
    JobNeeds needs;
    std::set<std::pair<int64_t, std::string>> ready;  // (rank, id)
  };

  // A job that waits but may not be placed yet has a position and no class.
  void Add(const std::string& job_id, int64_t rank);
  void Remove(const std::string& job_id);
  // `job_id` was added.
  void MakeReady(const std::string& job_id, const JobNeeds& needs);

  // From 1; 0 when it does not wait.
  int32_t Position(const std::string& job_id) const;
  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  bool HasReady() const { return !classes_.empty(); }

  const std::map<std::string, Class>& classes() const { return classes_; }
  bool IsReady(const std::string& job_id) const { return ClassKeyOf(job_id) != nullptr; }
  // The class of a job that is ready; nullptr otherwise.
  const std::string* ClassKeyOf(const std::string& job_id) const;
  // The first job of every class, in the order of service.
  std::vector<const std::pair<const std::string, Class>*> Heads() const;

 private:
  using Order = __gnu_pbds::tree<std::pair<int64_t, std::string>, __gnu_pbds::null_type,
                                 std::less<std::pair<int64_t, std::string>>, __gnu_pbds::rb_tree_tag,
                                 __gnu_pbds::tree_order_statistics_node_update>;
  struct Entry {
    int64_t rank = 0;  // the lowest goes first
    std::string class_key;
    bool ready = false;
  };

  std::unordered_map<std::string, Entry> entries_;
  Order order_;  // a tree that knows positions
  std::map<std::string, Class> classes_;
};

}  // namespace mantissa::server
