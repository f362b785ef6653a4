// The jobs that wait, in the order they are to be served.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
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
  using Place = std::pair<int64_t, std::string_view>;  // rank, id; good until the job is removed

  struct Class {
    JobNeeds needs;
    std::set<Place> ready;
  };

  // A job that waits but may not be placed yet has a position and no class.
  void Add(const std::string& job_id, int64_t rank, const std::string& tenant = "");
  void Remove(const std::string& job_id);
  // `job_id` was added.
  void MakeReady(const std::string& job_id, const JobNeeds& needs);

  // From 1; 0 when it does not wait.
  int32_t Position(const std::string& job_id) const;
  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  // Of one tenant.
  int64_t SizeOf(const std::string& tenant) const;
  bool HasReady() const { return !classes_.empty(); }

  const std::map<std::string, Class>& classes() const { return classes_; }
  bool IsReady(const std::string& job_id) const { return ClassKeyOf(job_id) != nullptr; }
  // The class of a job that is ready; nullptr otherwise.
  const std::string* ClassKeyOf(const std::string& job_id) const;
  // The first job of every class, in the order of service.
  std::vector<const std::pair<const std::string, Class>*> Heads() const;

 private:
  using Order = __gnu_pbds::tree<Place, __gnu_pbds::null_type, std::less<Place>, __gnu_pbds::rb_tree_tag,
                                 __gnu_pbds::tree_order_statistics_node_update>;
  using Counts = std::unordered_map<std::string, int64_t>;
  using Classes = std::map<std::string, Class>;
  struct Entry {
    int64_t rank = 0;  // the lowest goes first
    Counts::value_type* its_tenant = nullptr;
    Classes::value_type* its_class = nullptr;  // of a job that is ready
  };

  std::unordered_map<std::string, Entry> entries_;
  Counts tenants_;  // those that have jobs here
  Order order_;     // a tree that knows positions
  Classes classes_;
};

}  // namespace mantissa::server
