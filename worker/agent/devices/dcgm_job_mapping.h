#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "worker/agent/held_attempts.h"

namespace mantissa::agent {

// Tells dcgm-exporter whom each GPU works for: its --hpc-job-mapping-dir has a file for each GPU, named by the index
// and holding ids of jobs, one a line (github.com/NVIDIA/dcgm-exporter, "How to include HPC jobs in metric labels").
// Files are replaced whole, and emptied rather than removed: the exporter, which lists the folder and then reads, drops
// a whole scrape over one that vanishes between the two. Not thread-safe.
class DcgmJobMapping {
 public:
  explicit DcgmJobMapping(std::string folder) : folder_(std::move(folder)) {}

  // The job of each GPU of ours, empty where it has none. Writes what is not written yet, so the first call cleans up
  // after a worker that was killed. Of several failures the first is returned; each is tried again by the next call.
  absl::Status Show(const std::map<unsigned, std::string>& jobs);

 private:
  absl::Status Write(unsigned gpu, const std::string& job_id) const;

  const std::string folder_;
  std::map<unsigned, std::string> written_;
};

// The job that each CUDA device works for, empty for those that have none, by the index that `gpu_index` gives for the
// device's ordinal; a device without an index is left out.
std::map<unsigned, std::string> JobsByGpu(const std::vector<v1::Device>& devices, const HeldAttempts& attempts,
                                          const std::function<std::optional<unsigned>(unsigned)>& gpu_index);

}  // namespace mantissa::agent
