#include "worker/agent/launch/oom_watch.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <string_view>
#include <unistd.h>

namespace mantissa::agent {
namespace {

bool Readable(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

// The file with a line `oom_kill N` of the cgroup this process is in: memory.events (v2) or memory.oom_control (v1).
std::string CounterFile(const OomSources& sources) {
  std::ifstream lines(sources.own_cgroups);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      const std::string file = sources.cgroup_mount + path + "/memory.events";
      if (Readable(file)) return file;
    } else if (controllers.find(",memory,") != std::string::npos) {
      // Inside a container the mount shows the container's own group at its top.
      for (const std::string& folder : {path, std::string()}) {
        const std::string file = sources.cgroup_mount + "/memory" + folder + "/memory.oom_control";
        if (Readable(file)) return file;
      }
    }
  }
  return "";
}

}  // namespace

OomWatch::OomWatch(const OomSources& sources)
    : counter_file_(CounterFile(sources)),
      kernel_log_(::open(sources.kernel_log.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
  if (kernel_log_.valid()) ::lseek(kernel_log_.get(), 0, SEEK_END);
  explained_kills_ = CgroupKills().value_or(0);
}

bool OomWatch::Explains(pid_t pid) {
  ReadKernelLog();
  const std::uint64_t kills = CgroupKills().value_or(0);
  const bool uncounted = kills > explained_kills_;
  if (uncounted) ++explained_kills_;
  return named_.erase(pid) > 0 || uncounted;
}

void OomWatch::ReadKernelLog() {
  if (!kernel_log_.valid()) return;
  std::array<char, 8192> record;
  while (true) {
    // One read gives one record; EPIPE says that records were overwritten before they were read.
    const ssize_t size = ::read(kernel_log_.get(), record.data(), record.size());
    if (size < 0 && (errno == EINTR || errno == EPIPE)) continue;
    if (size <= 0) return;
    const std::string_view text(record.data(), static_cast<std::size_t>(size));
    for (const std::string_view mark : {"Killed process ", "Kill process "}) {
      const std::size_t at = text.find(mark);
      if (at == std::string_view::npos) continue;
      named_.insert(std::atoi(std::string(text.substr(at + mark.size(), 12)).c_str()));
    }
  }
}

std::optional<std::uint64_t> OomWatch::CgroupKills() const {
  if (counter_file_.empty()) return std::nullopt;
  std::ifstream words(counter_file_);
  std::string key;
  std::uint64_t value = 0;
  while (words >> key >> value) {
    if (key == "oom_kill") return value;
  }
  return std::nullopt;
}

}  // namespace mantissa::agent
