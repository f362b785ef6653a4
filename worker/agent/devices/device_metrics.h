#pragma once

#include <string>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

#include "worker/agent/devices/gpu_poller.h"

namespace mantissa::agent {

// The families of a machine's GPUs, by their index and UUID. Where nothing can be read there are none. Thread-safe.
class DeviceMetrics final : public prometheus::Collectable {
 public:
  // `poller` outlives the metrics. `visible_devices` is CUDA_VISIBLE_DEVICES of the trainers.
  DeviceMetrics(const GpuPoller& poller, std::string visible_devices)
      : poller_(poller), visible_devices_(std::move(visible_devices)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const GpuPoller& poller_;
  const std::string visible_devices_;
};

}  // namespace mantissa::agent
