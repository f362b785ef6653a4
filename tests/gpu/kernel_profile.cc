#include "tests/gpu/kernel_profile.h"

#include <algorithm>
#include <map>
#include <set>

#include <torch/csrc/autograd/profiler_kineto.h>

namespace mantissa::trainer {
namespace {

namespace profiler = torch::autograd::profiler;

constexpr std::size_t kNameWidth = 150;

// `void at::native::(anonymous namespace)::f<int>(float*)` -> `f<int>(float*)`, cut.
std::string Short(std::string name) {
  for (const std::string noise : {"void ", "at::native::", "(anonymous namespace)::", "mantissa::trainer::"}) {
    for (std::size_t at = name.find(noise); at != std::string::npos; at = name.find(noise))
      name.erase(at, noise.size());
  }
  if (name.size() > kNameWidth) name.resize(kNameWidth);
  return name;
}

}  // namespace

std::vector<KernelTime> ProfileKernels(std::int64_t iterations, const std::function<void()>& work) {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<torch::profiler::impl::ActivityType> activities = {torch::profiler::impl::ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  work();
  const auto result = profiler::disableProfiler();
  std::map<std::string, KernelTime> by_name;
  for (const profiler::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA) continue;
    KernelTime& kernel = by_name[Short(event.name())];
    kernel.calls += 1.0 / static_cast<double>(iterations);
    kernel.seconds += static_cast<double>(event.durationNs()) * 1e-9 / static_cast<double>(iterations);
  }
  std::vector<KernelTime> kernels;
  for (auto& [name, kernel] : by_name) {
    kernel.name = name;
    kernels.push_back(kernel);
  }
  std::sort(kernels.begin(), kernels.end(),
            [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return kernels;
}

}  // namespace mantissa::trainer
