#include "worker/agent/devices/visible_gpus.h"

#include <charconv>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace mantissa::agent {

std::optional<unsigned> GpuIndexOf(unsigned ordinal, std::string_view visible_devices, const GpuReadings& readings) {
  if (visible_devices.empty()) return ordinal;
  const std::vector<std::string> names = absl::StrSplit(std::string(visible_devices), ',');
  if (ordinal >= names.size()) return std::nullopt;
  const std::string name(absl::StripAsciiWhitespace(names[ordinal]));
  if (absl::StartsWith(name, "GPU-")) {
    for (const GpuReading& gpu : readings.gpus) {
      if (absl::StartsWith(gpu.uuid, name)) return gpu.index;
    }
    return std::nullopt;
  }
  unsigned index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return index;
}

}  // namespace mantissa::agent
