// What the worker reads of a real driver; where there is none, says so. Needs neither LibTorch nor a built plug-in.
#include "worker/agent/devices/nvml.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>

namespace mantissa::agent {
namespace {

constexpr int kSkipped = 77;

// By index, what nvidia-smi says of the same driver: uuid, name, memory in MiB, driver.
std::map<unsigned, std::vector<std::string>> NvidiaSmi() {
  std::map<unsigned, std::vector<std::string>> gpus;
  FILE* const smi = ::popen(
      "nvidia-smi --query-gpu=index,uuid,name,memory.total,driver_version --format=csv,noheader,nounits 2>/dev/null",
      "r");
  if (smi == nullptr) return gpus;
  char line[512];
  while (std::fgets(line, sizeof(line), smi) != nullptr) {
    std::stringstream fields(line);
    std::vector<std::string> values;
    for (std::string value; std::getline(fields, value, ',');) {
      value.erase(0, value.find_first_not_of(' '));
      value.erase(value.find_last_not_of(" \n") + 1);
      values.push_back(value);
    }
    if (values.size() == 5) gpus[std::stoul(values[0])] = values;
  }
  ::pclose(smi);
  return gpus;
}

TEST(NvmlOfADriverTest, SaysOfEachGpuWhatNvidiaSmiSays) {
  Nvml nvml;
  const GpuReadings readings = nvml.Read();
  ASSERT_FALSE(readings.gpus.empty());
  for (const GpuReading& gpu : readings.gpus) {
    std::printf("gpu %u %s %s: %.0f %% busy, %.0f of %.0f bytes, %.1f W, %.0f C, driver %s\n", gpu.index,
                gpu.uuid.c_str(), gpu.model.c_str(), 100 * gpu.utilisation_ratio.value_or(-0.01),
                gpu.memory_used_bytes.value_or(-1), gpu.memory_total_bytes.value_or(-1), gpu.power_watts.value_or(-1),
                gpu.temperature_celsius.value_or(-1), readings.driver_version.c_str());
    EXPECT_THAT(gpu.uuid, testing::StartsWith("GPU-"));
    EXPECT_GT(gpu.memory_total_bytes.value_or(0), 1e9);
    EXPECT_LE(gpu.memory_used_bytes.value_or(1e18), gpu.memory_total_bytes.value_or(0));
    EXPECT_GE(gpu.utilisation_ratio.value_or(0), 0);
    EXPECT_LE(gpu.utilisation_ratio.value_or(0), 1);
    if (gpu.power_watts) {
      EXPECT_GT(*gpu.power_watts, 1);
      EXPECT_LT(*gpu.power_watts, 3'000);
    }
    if (gpu.temperature_celsius) {
      EXPECT_GT(*gpu.temperature_celsius, 5);
      EXPECT_LT(*gpu.temperature_celsius, 120);
    }
  }
  const auto smi = NvidiaSmi();
  if (smi.empty()) std::printf("nvidia-smi is not here: not compared with it\n");
  for (const auto& [index, values] : smi) {
    const auto gpu = std::find_if(readings.gpus.begin(), readings.gpus.end(),
                                  [index = index](const GpuReading& reading) { return reading.index == index; });
    ASSERT_NE(gpu, readings.gpus.end()) << index;
    EXPECT_EQ(gpu->uuid, values[1]);
    EXPECT_EQ(gpu->model, values[2]);
    EXPECT_NEAR(gpu->memory_total_bytes.value_or(0), std::stod(values[3]) * 1048576, 2e9);
    EXPECT_EQ(readings.driver_version, values[4]);
  }
}

TEST(NvmlOfADriverTest, MayBeReadAgainAndOpenedTwice) {
  Nvml first, second;
  const std::size_t gpus = first.Read().gpus.size();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(first.Read().gpus.size(), gpus);
  EXPECT_EQ(second.Read().gpus.size(), gpus);
}

}  // namespace
}  // namespace mantissa::agent

int main(int argc, char** argv) {
  if (::access("/dev/nvidiactl", F_OK) != 0) {
    std::fprintf(stderr,
                 "--------------------------------------------------------------------------------\n"
                 "NVML TESTS SKIPPED: this machine has no NVIDIA driver.\n"
                 "--------------------------------------------------------------------------------\n");
    return mantissa::agent::kSkipped;
  }
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
