#include "process/process_figures.h"

#include <cstdint>
#include <dirent.h>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace mantissa::process {
namespace {

// Those of /proc/self/stat that are shown, in proc_pid_stat(5)'s units.
struct Stat {
  double user_ticks = 0;
  double system_ticks = 0;
  double threads = 0;
  double start_ticks = 0;  // after boot
  double virtual_bytes = 0;
  double resident_pages = 0;
};

std::optional<Stat> ReadStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The second field is the program's name in parentheses and may hold anything; field 3 follows the last of them.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream rest(line.substr(name_end + 1));
  Stat stat;
  std::string skipped;
  for (int field = 3; field <= 24; ++field) {
    double* const wanted = field == 14   ? &stat.user_ticks
                           : field == 15 ? &stat.system_ticks
                           : field == 20 ? &stat.threads
                           : field == 22 ? &stat.start_ticks
                           : field == 23 ? &stat.virtual_bytes
                           : field == 24 ? &stat.resident_pages
                                         : nullptr;
    if (wanted != nullptr ? !(rest >> *wanted) : !(rest >> skipped)) return std::nullopt;
  }
  return stat;
}

// Seconds since 1970.
std::optional<double> ReadBootTime() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return std::nullopt;
}

std::optional<double> CountOpenFiles() {
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return std::nullopt;
  double entries = 0;
  while (::readdir(folder) != nullptr) ++entries;
  ::closedir(folder);
  return entries - 3;  // itself, its parent, and the descriptor that this look took
}

}  // namespace

std::int64_t ResidentBytes() {
  // The second number of proc_pid_statm(5), in pages.
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  if (!(file >> size >> resident)) return 0;
  return resident * ::sysconf(_SC_PAGESIZE);
}

std::vector<ProcessFigure> ReadProcessFigures() {
  std::vector<ProcessFigure> figures;
  if (const std::optional<Stat> stat = ReadStat()) {
    const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    figures.push_back({"process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", true,
                       (stat->user_ticks + stat->system_ticks) / ticks});
    if (const std::optional<double> boot = ReadBootTime()) {
      figures.push_back({"process_start_time_seconds", "Start time of the process since unix epoch in seconds.", false,
                         *boot + stat->start_ticks / ticks});
    }
    figures.push_back({"process_virtual_memory_bytes", "Virtual memory size in bytes.", false, stat->virtual_bytes});
    figures.push_back({"process_resident_memory_bytes", "Resident memory size in bytes.", false,
                       stat->resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE))});
    figures.push_back({"process_threads", "Number of OS threads in the process.", false, stat->threads});
  }
  if (const std::optional<double> open = CountOpenFiles()) {
    figures.push_back({"process_open_fds", "Number of open file descriptors.", false, *open});
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    figures.push_back(
        {"process_max_fds", "Maximum number of open file descriptors.", false, static_cast<double>(files.rlim_cur)});
  }
  return figures;
}

}  // namespace mantissa::process
