#include "worker/agent/devices/dcgm_job_mapping.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <unistd.h>

#include "gmock/gmock.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class DcgmJobMappingTest : public testing::Test {
 protected:
  DcgmJobMappingTest() { fs::create_directories(folder_); }
  ~DcgmJobMappingTest() override { fs::remove_all(folder_); }

  // What dcgm-exporter would find.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      std::stringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      files[entry.path().filename().string()] = text.str();
    }
    return files;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("dcgm-" + std::to_string(::getpid()));
  DcgmJobMapping mapping_{folder_.string()};
};

TEST_F(DcgmJobMappingTest, AFileForEachGpuHoldsItsJobAndNothingAfterItsEnd) {
  ASSERT_TRUE(mapping_.Show({{0, "job-a"}, {3, ""}}).ok());
  EXPECT_THAT(Files(), ElementsAre(Pair("0", "job-a\n"), Pair("3", "")));
  ASSERT_TRUE(mapping_.Show({{0, ""}, {3, "job-b"}}).ok());
  EXPECT_THAT(Files(), ElementsAre(Pair("0", ""), Pair("3", "job-b\n")));
}

TEST_F(DcgmJobMappingTest, WhatAWorkerThatWasKilledLeftIsCleanedUpAndOthersFilesStay) {
  std::ofstream(folder_ / "0") << "of yesterday\n";
  std::ofstream(folder_ / "7") << "of another worker\n";
  ASSERT_TRUE(mapping_.Show({{0, ""}}).ok());
  EXPECT_THAT(Files(), ElementsAre(Pair("0", ""), Pair("7", "of another worker\n")));
}

TEST_F(DcgmJobMappingTest, WhatCouldNotBeWrittenIsWrittenByTheNextCall) {
  fs::remove_all(folder_);
  const absl::Status failed = mapping_.Show({{0, "job-a"}, {1, "job-b"}});
  EXPECT_THAT(std::string(failed.message()), HasSubstr("/0 (--dcgm-job-mapping-dir)"));
  fs::create_directories(folder_);
  ASSERT_TRUE(mapping_.Show({{0, "job-a"}, {1, "job-b"}}).ok());
  EXPECT_THAT(Files(), ElementsAre(Pair("0", "job-a\n"), Pair("1", "job-b\n")));
}

TEST_F(DcgmJobMappingTest, WhatIsWrittenAlreadyIsLeftAlone) {
  ASSERT_TRUE(mapping_.Show({{0, "job-a"}}).ok());
  fs::remove(folder_ / "0");
  ASSERT_TRUE(mapping_.Show({{0, "job-a"}}).ok());
  EXPECT_TRUE(Files().empty());
}

class JobsByGpuTest : public testing::Test {
 protected:
  JobsByGpuTest() {
    for (const char* const id : {"cpu-0", "cuda-0", "cuda-1"}) {
      v1::Device& device = devices_.emplace_back();
      device.set_id(id);
      device.set_kind(id[1] == 'p' ? v1::Device::CPU : v1::Device::CUDA);
    }
  }
  v1::AttemptRef Hold(const std::string& job_id, const std::string& device) {
    v1::AttemptRef ref;
    ref.set_job_id(job_id);
    ref.set_attempt(1);
    v1::Assignment assignment;
    assignment.mutable_placement()->add_device_ids(device);
    attempts_.Add(ref, assignment);
    return ref;
  }
  std::map<unsigned, std::string> Jobs() {
    return JobsByGpu(devices_, attempts_, [](unsigned ordinal) { return std::optional<unsigned>(ordinal + 4); });
  }

  std::vector<v1::Device> devices_;
  HeldAttempts attempts_;
};

TEST_F(JobsByGpuTest, AnAttemptHasItsGpuFromItsAssignmentToItsEnd) {
  EXPECT_THAT(Jobs(), ElementsAre(Pair(4, ""), Pair(5, "")));
  const v1::AttemptRef ref = Hold("job-a", "cuda-1");
  Hold("job-b", "cpu-0");
  EXPECT_THAT(Jobs(), ElementsAre(Pair(4, ""), Pair(5, "job-a")));
  v1::AttemptEnded ended;
  ended.set_state(v1::Attempt::SUCCEEDED);
  attempts_.Ended(KeyOf(ref), ended, {});
  EXPECT_THAT(Jobs(), ElementsAre(Pair(4, ""), Pair(5, "")));
}

TEST_F(JobsByGpuTest, AGpuWhoseIndexIsNotKnownIsLeftOut) {
  Hold("job-a", "cuda-1");
  EXPECT_TRUE(JobsByGpu(devices_, attempts_, [](unsigned) { return std::optional<unsigned>(); }).empty());
}

}  // namespace
}  // namespace mantissa::agent
