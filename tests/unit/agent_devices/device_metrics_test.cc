#include "worker/agent/devices/device_metrics.h"

#include <chrono>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "prometheus/text_serializer.h"

namespace mantissa::agent {
namespace {

using testing::HasSubstr;
using testing::Not;

// What a scrape says once these have been read.
std::string TextOf(const GpuReadings& readings, const std::string& visible_devices = "") {
  const GpuPoller poller([&readings] { return readings; }, {.fresh_for = std::chrono::hours(1)});
  while (!poller.Newest().has_value()) std::this_thread::yield();
  return prometheus::TextSerializer().Serialize(DeviceMetrics(poller, visible_devices).Collect());
}

GpuReadings Two() {
  GpuReadings readings;
  readings.driver_version = "580";
  for (unsigned index = 0; index < 2; ++index) {
    GpuReading& gpu = readings.gpus.emplace_back();
    gpu.index = index;
    gpu.uuid = "GPU-" + std::to_string(index);
    gpu.model = "H100";
    gpu.utilisation_ratio = 0.25;
    gpu.memory_used_bytes = 1e9;
    gpu.memory_total_bytes = 8e10;
    gpu.power_watts = 300.5;
    gpu.temperature_celsius = 60;
  }
  return readings;
}

TEST(DeviceMetricsTest, EachGpuHasItsSeries) {
  const std::string text = TextOf(Two());
  for (const char* const line : {
           R"(mantissa_worker_device_utilisation_ratio{gpu="0",uuid="GPU-0"} 0.25)",
           R"(mantissa_worker_device_memory_used_bytes{gpu="1",uuid="GPU-1"} 1000000000)",
           R"(mantissa_worker_device_memory_total_bytes{gpu="1",uuid="GPU-1"} 80000000000)",
           R"(mantissa_worker_device_power_watts{gpu="0",uuid="GPU-0"} 300.5)",
           R"(mantissa_worker_device_temperature_celsius{gpu="0",uuid="GPU-0"} 60)",
           R"(mantissa_worker_device_info{gpu="0",uuid="GPU-0",model="H100",driver="580",device="cuda-0"} 1)",
           R"(mantissa_worker_device_info{gpu="1",uuid="GPU-1",model="H100",driver="580",device="cuda-1"} 1)",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(DeviceMetricsTest, WhatWasNotReadIsAbsentAndNot0) {
  GpuReadings readings = Two();
  readings.gpus[0].utilisation_ratio.reset();
  for (GpuReading& gpu : readings.gpus) gpu.power_watts.reset();
  const std::string text = TextOf(readings);
  EXPECT_THAT(text, Not(HasSubstr("mantissa_worker_device_power_watts")));
  EXPECT_THAT(text, Not(HasSubstr(R"(mantissa_worker_device_utilisation_ratio{gpu="0")")));
  EXPECT_THAT(text, HasSubstr(R"(mantissa_worker_device_utilisation_ratio{gpu="1")"));
}

TEST(DeviceMetricsTest, AMachineWithoutAGpuHasNoFamilies) { EXPECT_EQ(TextOf({}), ""); }

TEST(DeviceMetricsTest, SaysWhichDeviceOfTheWorkerAGpuIs) {
  const std::string text = TextOf(Two(), "1");
  EXPECT_THAT(text, HasSubstr(R"({gpu="0",uuid="GPU-0",model="H100",driver="580",device=""} 1)"));
  EXPECT_THAT(text, HasSubstr(R"({gpu="1",uuid="GPU-1",model="H100",driver="580",device="cuda-0"} 1)"));
}

}  // namespace
}  // namespace mantissa::agent
