// Whom the GPUs of a worker work for, as dcgm-exporter is told it.
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/stat.h>

#include "gmock/gmock.h"

#include "process/file_descriptor.h"
#include "tests/unit/agent/agent_fixture.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;

class AgentDevicesTest : public AgentTest {
 protected:
  AgentDevicesTest() {
    options_.trainers.probe_cuda = true;
    options_.trainers.environment = {"FAKE_CUDA_DEVICES=1"};
    options_.dcgm_job_mapping_dir = (folder_ / "mapping").string();
  }

  void BeginOnTheGpu(const std::string& steps) {
    StartAgent();
    Until("both devices", [&] { return newest_.request.devices_size() == 2; });
    Want(Goal::RUN, steps);
    desired_.mutable_attempts(0)->mutable_assignment()->mutable_placement()->set_device_ids(0, "cuda-0");
    Answer();
  }
  // Absent is told from empty.
  std::string Told() const {
    std::ifstream file(folder_ / "mapping/0");
    std::stringstream text;
    text << (file ? "" : "absent") << file.rdbuf();
    return text.str();
  }
};

TEST_F(AgentDevicesTest, AGpuHasItsJobWhileTheAttemptRuns) {
  fs::create_directories(folder_ / "mapping");
  std::ofstream(folder_ / "mapping/0") << "left by one that was killed\n";
  StartAgent();
  Until("it is cleaned up", [&] { return Told().empty(); });
  Until("both devices", [&] { return newest_.request.devices_size() == 2; });
  Want(Goal::RUN, "started,wait");
  desired_.mutable_attempts(0)->mutable_assignment()->mutable_placement()->set_device_ids(0, "cuda-0");
  Answer();
  Until("its job is told", [&] { return Told() == MakeRef().job_id() + "\n"; });
  Want(Goal::CANCEL);
  Answer();
  Until("the end is told", [&] { return Told().empty(); });
}

TEST_F(AgentDevicesTest, AFolderThatIsNotThereIsNoMatterForTheJob) {
  BeginOnTheGpu("started,records=3");
  Until("the end", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
  EXPECT_EQ(Told(), "absent");
}

// A pipe that nobody reads stands for a file system that hangs: opening it waits.
TEST_F(AgentDevicesTest, AFolderThatHangsHoldsUpNoJobAndTheLastEndIsToldBeforeTheWorkerLeaves) {
  fs::create_directories(folder_ / "mapping");
  const fs::path pipe = folder_ / "mapping/.0.new";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  BeginOnTheGpu("started,wait");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  agent_->RequestDrain();
  Until("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  Want(Goal::FORGET);
  for (int i = 0; i < 20 && !agent_->attempts().empty(); ++i) Answer();
  EXPECT_TRUE(agent_->attempts().empty());
  EXPECT_FALSE(agent_->Finished());
  const process::FileDescriptor reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  Until("it may leave", [&] { return agent_->Finished(); });
  EXPECT_EQ(Told(), "");
}

}  // namespace
}  // namespace mantissa::agent
