#include "server/core/job_needs.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/features.h"
#include "proto/spec/lineage.h"

namespace mantissa::server {
namespace {

bool Has(const std::vector<v1::PrecisionSpec::Mode>& modes, v1::PrecisionSpec::Mode mode) {
  return std::find(modes.begin(), modes.end(), mode) != modes.end();
}

void AddPrecision(v1::PrecisionSpec::Mode mode, JobNeeds& needs) {
  if (mode != v1::PrecisionSpec::MODE_UNSPECIFIED && !Has(needs.precisions, mode)) needs.precisions.push_back(mode);
}

}  // namespace

ComputeCapability ParseComputeCapability(const std::string& text) {
  ComputeCapability result;
  const char* end = text.data() + text.size();
  auto [dot, error] = std::from_chars(text.data(), end, result.major);
  if (error != std::errc() || result.major < 0) return {};
  if (dot == end) return result;
  if (*dot != '.') return {};
  auto [rest, minor_error] = std::from_chars(dot + 1, end, result.minor);
  if (minor_error != std::errc() || rest != end || result.minor < 0) return {};
  return result;
}

JobNeeds NeedsOf(const v1::JobSpec& resolved) {
  JobNeeds needs;
  const v1::ResourceSpec& resources = resolved.resources();
  if (resources.device() != v1::ResourceSpec::DEVICE_UNSPECIFIED) needs.device = resources.device();
  const v1::PrecisionSpec& precision = resolved.training().precision();
  AddPrecision(precision.mode(), needs);
  for (const v1::PrecisionOverride& override : precision.overrides()) AddPrecision(override.compute(), needs);
  if (spec::MayFallBack(precision)) {
    for (const int mode : precision.fallback()) AddPrecision(static_cast<v1::PrecisionSpec::Mode>(mode), needs);
  }
  needs.emulate = precision.emulate();
  needs.cpu_threads = resources.cpu_threads();
  needs.memory_bytes = resources.memory_bytes();
  needs.labels.insert(resources.worker_selector().begin(), resources.worker_selector().end());
  // Who asks something of a GPU wants one.
  const bool of_gpu = (resources.has_gpu() && resources.gpu().ByteSizeLong() > 0) ||
                      resolved.training().execution().mode() == v1::ExecutionSpec::GRAPH;
  if (needs.device == v1::ResourceSpec::AUTO && of_gpu) {
    needs.device = v1::ResourceSpec::CUDA;
  }
  needs.gpu_model = resources.gpu().model();
  needs.gpu_memory_bytes = resources.gpu().min_memory_bytes();
  needs.compute_capability = ParseComputeCapability(resources.gpu().min_compute_capability());
  if (!needs.emulate &&
      (Has(needs.precisions, v1::PrecisionSpec::BF16) || Has(needs.precisions, v1::PrecisionSpec::TF32))) {
    needs.compute_capability = std::max(needs.compute_capability, ComputeCapability{8, 0});
  }
  needs.features = spec::RequiredFeatures(resolved);
  // Starting again takes the checkpoint that the job began from, which no other storage is known to have.
  needs.storage_optional = resolved.retry().restart_without_checkpoint() &&
                           resolved.training().init_from().source_case() != v1::InitFrom::kJobId;
  return needs;
}

std::string JobNeeds::ClassKey() const {
  // Lengths before texts keep two different sets of needs from running into one key.
  std::string key = absl::StrCat(device, "/", absl::StrJoin(precisions, ","), "/", emulate, "/", cpu_threads, "/",
                                 memory_bytes, "/", gpu_memory_bytes, "/", compute_capability.major, ".",
                                 compute_capability.minor, "/", storage_optional, "/", initialises, "/", labels.size());
  auto add = [&key](const std::string& text) { absl::StrAppend(&key, "/", text.size(), ":", text); };
  add(gpu_model);
  add(storage_id);
  for (const auto& [name, value] : labels) {
    add(name);
    add(value);
  }
  for (const std::string& feature : features) add(feature);
  return key;
}

}  // namespace mantissa::server
