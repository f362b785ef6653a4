// Which of the jobs that wait are meant.
#pragma once

#include <map>
#include <set>
#include <string>

#include "mantissa/v1/job.pb.h"

namespace mantissa::server {

// All that is set must hold.
struct QueueFilter {
  // Whose jobs; empty: everybody's.
  std::string tenant = {};
  // What jobs ask for, any of these; empty: whatever they ask for.
  std::set<v1::ResourceSpec::Device> devices = {};
  // That a job has, all of these.
  std::map<std::string, std::string> labels = {};
  // Of the workers in question. A job whose worker_selector asks for more is not meant: none of them could take it.
  std::map<std::string, std::string> worker_labels = {};
};

}  // namespace mantissa::server
