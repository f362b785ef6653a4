#include "worker/agent/devices/dcgm_job_mapping.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "process/file_descriptor.h"

namespace mantissa::agent {

absl::Status DcgmJobMapping::Show(const std::map<unsigned, std::string>& jobs) {
  absl::Status shown;
  for (const auto& [gpu, job_id] : jobs) {
    const auto before = written_.find(gpu);
    if (before != written_.end() && before->second == job_id) continue;
    const absl::Status wrote = Write(gpu, job_id);
    if (wrote.ok()) written_[gpu] = job_id;
    shown.Update(wrote);
  }
  return shown;
}

std::map<unsigned, std::string> JobsByGpu(const std::vector<v1::Device>& devices, const HeldAttempts& attempts,
                                          const std::function<std::optional<unsigned>(unsigned)>& gpu_index) {
  std::map<unsigned, std::string> jobs;
  std::map<std::string, unsigned> indices;  // by device
  for (const v1::Device& device : devices) {
    if (device.kind() != v1::Device::CUDA) continue;
    unsigned ordinal = 0;
    if (!absl::SimpleAtoi(device.id().substr(device.id().find('-') + 1), &ordinal)) continue;
    const std::optional<unsigned> index = gpu_index(ordinal);
    if (!index) continue;
    indices[device.id()] = *index;
    jobs[*index];
  }
  for (const auto& [key, attempt] : attempts.all()) {
    if (attempt.over()) continue;
    for (const std::string& device : attempt.assignment.placement().device_ids()) {
      const auto index = indices.find(device);
      if (index != indices.end()) jobs[index->second] = key.job_id;
    }
  }
  return jobs;
}

absl::Status DcgmJobMapping::Write(unsigned gpu, const std::string& job_id) const {
  const std::string file = absl::StrCat(folder_, "/", gpu);
  const std::string fresh = absl::StrCat(folder_, "/.", gpu, ".new");  // the exporter reads names that are numbers
  const std::string line = job_id.empty() ? "" : job_id + "\n";
  // Readable by the exporter, which is another user.
  const process::FileDescriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!out.valid() || ::write(out.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      ::rename(fresh.c_str(), file.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("writing ", file, " (--dcgm-job-mapping-dir)"));
  }
  return absl::OkStatus();
}

}  // namespace mantissa::agent
