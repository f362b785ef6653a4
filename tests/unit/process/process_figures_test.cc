#include "process/process_figures.h"

#include <fcntl.h>
#include <map>
#include <string>
#include <sys/mman.h>
#include <time.h>

#include "gmock/gmock.h"

#include "process/file_descriptor.h"

namespace mantissa::process {
namespace {

std::map<std::string, double> Figures() {
  std::map<std::string, double> figures;
  for (const ProcessFigure& figure : ReadProcessFigures()) figures[figure.name] = figure.value;
  return figures;
}

TEST(ProcessFiguresTest, AllAreThereAndPlausible) {
  const std::map<std::string, double> figures = Figures();
  EXPECT_EQ(figures.size(), 7u);
  EXPECT_GT(figures.at("process_resident_memory_bytes"), 1e5);
  EXPECT_GT(figures.at("process_virtual_memory_bytes"), figures.at("process_resident_memory_bytes"));
  EXPECT_GE(figures.at("process_threads"), 1);
  EXPECT_GT(figures.at("process_max_fds"), figures.at("process_open_fds"));
  const double now = static_cast<double>(::time(nullptr));
  EXPECT_LE(figures.at("process_start_time_seconds"), now + 1);
  EXPECT_GT(figures.at("process_start_time_seconds"), now - 24 * 3600);
}

TEST(ProcessFiguresTest, OpenFilesAreCountedToTheOne) {
  const double before = Figures().at("process_open_fds");
  const FileDescriptor first(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      second(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(Figures().at("process_open_fds"), before + 2);
}

TEST(ProcessFiguresTest, MemoryThatIsTouchedIsResident) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const double before = Figures().at("process_resident_memory_bytes");
  void* const memory =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const double after = Figures().at("process_resident_memory_bytes");
  ::munmap(memory, kBytes);
  EXPECT_NEAR(after - before, static_cast<double>(kBytes), 8e6);
}

TEST(ProcessFiguresTest, TimeOnTheProcessorIsCounted) {
  const double before = Figures().at("process_cpu_seconds_total");
  const auto used = [] {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  };
  const double until = used() + 0.1;
  while (used() < until) {
  }
  EXPECT_GT(Figures().at("process_cpu_seconds_total"), before + 0.05);
}

}  // namespace
}  // namespace mantissa::process
