// Which workers placement has to look at.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace mantissa::server {

// Note [Worker groups]
//
// Placement chooses by what a worker is, by what is taken on it, and by the storage it reaches; where all that is
// equal, by its id. So of workers that are of one kind and carry the same burden only the first can be chosen, among
// all and among those that reach a certain storage, and a decision costs the number of groups and not the number of
// workers. Where one worker is kept for a job, the others may get the second of its group, too.
//
// Not thread-safe.
class WorkerGroups {
 public:
  struct Burden {
    uint64_t free = 0;  // devices that may be given a job now, a bit each, in the worker's order
    int64_t promised_memory_bytes = 0;
    size_t running = 0;

    friend auto operator<=>(const Burden&, const Burden&) = default;
  };

  // Puts a worker in, or where it belongs now. `kind` is equal for workers that placement can't tell apart but for
  // storage and burden.
  void Put(const std::string& id, const std::string& kind, const std::set<std::string>& storage_ids,
           const Burden& burden);
  void Remove(const std::string& id);

  // Whether it stands where Put with these would put it.
  bool Holds(const std::string& id, const std::string& kind, const std::set<std::string>& storage_ids,
             const Burden& burden) const;

  bool AnyFree() const { return free_workers_ > 0; }

  // In order of id: the first of each group that has a free device, or with `busy` of each group; the first of each
  // group of those that reach one of `storage_ids`, busy or not; and where that is `kept`, the second as well.
  std::vector<std::string> Candidates(const std::set<std::string>& storage_ids, const std::string& kept,
                                      bool busy) const;

 private:
  struct Place {
    std::string kind;
    std::set<std::string> storage_ids;
    Burden burden;

    friend bool operator==(const Place&, const Place&) = default;
  };
  // Groups of one kind lie side by side.
  using Groups = std::map<std::string, std::map<Burden, std::set<std::string>>>;

  static void Add(Groups& groups, const std::string& id, const Place& place);
  static void Drop(Groups& groups, const std::string& id, const Place& place);
  static void Firsts(const Groups& groups, const std::string& kept, bool busy, std::set<std::string>& ids);
  void Drop(const std::string& id, const Place& place);

  std::map<std::string, Place> places_;
  Groups all_;
  std::map<std::string, Groups> by_storage_;
  int64_t free_workers_ = 0;
};

}  // namespace mantissa::server
