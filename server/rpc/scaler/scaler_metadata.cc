#include "server/rpc/scaler/scaler_metadata.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

#include "process/nearest_name.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

constexpr char kDevices[] = "devices";
constexpr char kLabels[] = "labels";
constexpr char kWorkerLabels[] = "workerLabels";
constexpr char kJobsPerWorker[] = "jobsPerWorker";

constexpr int64_t kMostJobsPerWorker = 1'000'000;

// KEDA sends all of a trigger's metadata on, its own as well.
constexpr std::array<std::string_view, 7> kOfKeda = {"scalerAddress", "enableTLS",     "unsafeSsl",   "caCert",
                                                     "tlsCertFile",   "tlsClientCert", "tlsClientKey"};

absl::Status Wrong(std::string_view key, std::string_view what) {
  return InvalidField(absl::StrCat("scalerMetadata.", std::string(key)), what);
}

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    if (!item.empty()) items.emplace_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

absl::Status ReadDevices(const std::string& text, std::set<v1::ResourceSpec::Device>& devices) {
  for (const std::string& name : Split(text)) {
    v1::ResourceSpec::Device device = v1::ResourceSpec::DEVICE_UNSPECIFIED;
    if (!v1::ResourceSpec::Device_Parse(name, &device) || device == v1::ResourceSpec::DEVICE_UNSPECIFIED) {
      return Wrong(kDevices, absl::StrCat("'", name, "' is none; AUTO, CPU and CUDA are, e.g. \"CPU,AUTO\""));
    }
    devices.insert(device);
  }
  return absl::OkStatus();
}

absl::Status ReadLabels(const char* key, const std::string& text, std::map<std::string, std::string>& labels) {
  for (const std::string& label : Split(text)) {
    const size_t equals = label.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Wrong(key,
                   absl::StrCat("'", label, "' is no label; key=value is, joined by commas, e.g. \"team=vision\""));
    }
    if (!labels.emplace(label.substr(0, equals), label.substr(equals + 1)).second) {
      return Wrong(key, absl::StrCat("'", label.substr(0, equals), "' is given twice; once is enough"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadJobsPerWorker(const std::string& text, int64_t& count) {
  const char* const end = text.data() + text.size();
  const auto [read_to, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || read_to != end || count < 1 || count > kMostJobsPerWorker) {
    return Wrong(kJobsPerWorker,
                 absl::StrCat("'", text, "' must be a whole number from 1 to ", kMostJobsPerWorker, ", e.g. \"1\""));
  }
  return absl::OkStatus();
}

absl::Status UnknownKey(const std::string& key) {
  const std::string nearest = process::NearestName(key, {kDevices, kLabels, kWorkerLabels, kJobsPerWorker});
  return Wrong(key, nearest.empty() ? "is no key of this scaler; devices, labels, workerLabels and jobsPerWorker are"
                                    : absl::StrCat("is no key of this scaler; did you mean '", nearest, "'?"));
}

}  // namespace

absl::StatusOr<ScalerTrigger> ParseScalerMetadata(const ScalerMetadata& metadata) {
  ScalerTrigger trigger;
  for (const auto& [key, text] : metadata) {
    absl::Status read;
    if (key == kDevices) {
      read = ReadDevices(text, trigger.filter.devices);
    } else if (key == kLabels) {
      read = ReadLabels(kLabels, text, trigger.filter.labels);
    } else if (key == kWorkerLabels) {
      read = ReadLabels(kWorkerLabels, text, trigger.filter.worker_labels);
    } else if (key == kJobsPerWorker) {
      read = ReadJobsPerWorker(text, trigger.jobs_per_worker);
    } else if (std::find(kOfKeda.begin(), kOfKeda.end(), key) == kOfKeda.end()) {
      read = UnknownKey(key);
    }
    if (!read.ok()) return read;
  }
  return trigger;
}

}  // namespace mantissa::server
