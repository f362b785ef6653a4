#include "worker/agent/launch/oom_watch.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;

class OomWatchTest : public testing::Test {
 protected:
  OomWatchTest() {
    sources_.own_cgroups = (folder_ / "cgroup").string();
    sources_.cgroup_mount = (folder_ / "fs").string();
    sources_.kernel_log = (folder_ / "kmsg").string();
  }
  ~OomWatchTest() override { fs::remove_all(folder_); }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) /
      ("oom-" + std::to_string(::getpid()) + "-" + testing::UnitTest::GetInstance()->current_test_info()->name());
  OomSources sources_;
};

TEST_F(OomWatchTest, AKillThatTheSecondVersionOfCgroupsCountsExplainsOneProcess) {
  Write("cgroup", "0::/a/b\n");
  Write("fs/a/b/memory.events", "low 0\noom 4\noom_kill 3\n");
  OomWatch watch(sources_);
  EXPECT_FALSE(watch.Explains(10)) << "older kills explain nothing";
  Write("fs/a/b/memory.events", "low 0\noom 5\noom_kill 4\n");
  EXPECT_TRUE(watch.Explains(11));
  EXPECT_FALSE(watch.Explains(12));
}

TEST_F(OomWatchTest, TheFirstVersionOfCgroupsCountsToo) {
  Write("cgroup", "12:cpu,cpuacct:/x\n7:memory:/y\n");
  Write("fs/memory/y/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
  OomWatch watch(sources_);
  Write("fs/memory/y/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  EXPECT_TRUE(watch.Explains(11));
}

TEST_F(OomWatchTest, TheKernelLogNamesTheProcess) {
  Write("kmsg", "");
  OomWatch watch(sources_);
  std::ofstream(folder_ / "kmsg", std::ios::app)
      << "3,1,2,-;Out of memory: Killed process 4711 (trainer) total-vm:1kB\n";
  EXPECT_FALSE(watch.Explains(4712));
  EXPECT_TRUE(watch.Explains(4711));
  EXPECT_FALSE(watch.Explains(4711)) << "the number may be given to another process later";
}

TEST_F(OomWatchTest, WithoutAWitnessNothingIsPutDownToMemory) {
  OomWatch watch(sources_);
  EXPECT_FALSE(watch.Explains(1));
}

}  // namespace
}  // namespace mantissa::agent
