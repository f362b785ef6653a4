#include "worker/agent/devices/device_metrics.h"

#include <map>
#include <optional>

#include "absl/strings/str_cat.h"

#include "worker/agent/devices/visible_gpus.h"

namespace mantissa::agent {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

struct Figure {
  const char* name;
  const char* help;
  std::optional<double> GpuReading::*value;
};

constexpr Figure kFigures[] = {
    {"mantissa_worker_device_utilisation_ratio", "Share of the time that a GPU had a kernel at work, 0 to 1.",
     &GpuReading::utilisation_ratio},
    {"mantissa_worker_device_memory_used_bytes", "Memory of a GPU that is taken, by whatever program.",
     &GpuReading::memory_used_bytes},
    {"mantissa_worker_device_memory_total_bytes", "Memory of a GPU.", &GpuReading::memory_total_bytes},
    {"mantissa_worker_device_power_watts", "Power that a GPU draws.", &GpuReading::power_watts},
    {"mantissa_worker_device_temperature_celsius", "Temperature of a GPU's chip.", &GpuReading::temperature_celsius},
};
constexpr char kInfo[] = "mantissa_worker_device_info";
constexpr char kInfoHelp[] =
    "Always 1; its labels say what a GPU is, and which device of the worker: empty for one that it does not use.";

ClientMetric MetricOf(const GpuReading& gpu, double value) {
  ClientMetric metric;
  metric.label = {{"gpu", absl::StrCat(gpu.index)}, {"uuid", gpu.uuid}};
  metric.gauge.value = value;
  return metric;
}

MetricFamily InfoOf(const GpuReadings& readings, const std::string& visible_devices) {
  std::map<unsigned, std::string> devices;
  for (unsigned ordinal = 0; ordinal < readings.gpus.size(); ++ordinal) {
    const std::optional<unsigned> index = GpuIndexOf(ordinal, visible_devices, readings);
    if (index) devices.emplace(*index, absl::StrCat("cuda-", ordinal));
  }
  MetricFamily info{kInfo, kInfoHelp, prometheus::MetricType::Gauge, {}};
  for (const GpuReading& gpu : readings.gpus) {
    ClientMetric& metric = info.metric.emplace_back(MetricOf(gpu, 1));
    metric.label.push_back({"model", gpu.model});
    metric.label.push_back({"driver", readings.driver_version});
    metric.label.push_back({"device", devices[gpu.index]});
  }
  return info;
}

}  // namespace

std::vector<MetricFamily> DeviceMetrics::Collect() const {
  std::vector<MetricFamily> families;
  const std::optional<GpuReadings> readings = poller_.Newest();
  if (!readings || readings->gpus.empty()) return families;
  families.push_back(InfoOf(*readings, visible_devices_));
  for (const Figure& figure : kFigures) {
    MetricFamily family{figure.name, figure.help, prometheus::MetricType::Gauge, {}};
    for (const GpuReading& gpu : readings->gpus) {
      if (const std::optional<double>& value = gpu.*figure.value) family.metric.push_back(MetricOf(gpu, *value));
    }
    if (!family.metric.empty()) families.push_back(std::move(family));
  }
  return families;
}

}  // namespace mantissa::agent
