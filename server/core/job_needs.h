// What a job needs of the device and the worker that run it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mantissa/v1/job.pb.h"

namespace mantissa::server {

struct ComputeCapability {
  int32_t major = 0;
  int32_t minor = 0;

  friend auto operator<=>(const ComputeCapability&, const ComputeCapability&) = default;
};

// "8.0"; 0.0 for text that is not of this form.
ComputeCapability ParseComputeCapability(const std::string& text);

struct JobNeeds {
  v1::ResourceSpec::Device device = v1::ResourceSpec::AUTO;
  // Its own, those of single modules, and those it may fall back to; none twice.
  std::vector<v1::PrecisionSpec::Mode> precisions;
  // A device that lacks one of them will do, though one that has them all is better.
  bool emulate = false;
  int32_t cpu_threads = 0;
  int64_t memory_bytes = 0;
  std::map<std::string, std::string> labels;
  std::string gpu_model;
  int64_t gpu_memory_bytes = 0;
  ComputeCapability compute_capability;
  std::vector<std::string> features;
  // Where the checkpoint lies that the next attempt resumes or begins from; empty: from scratch, anywhere.
  std::string storage_id;
  // It is another job's, named by training.init_from.
  bool initialises = false;
  // Start from scratch rather than wait for that storage.
  bool storage_optional = false;

  // Equal for jobs that any worker either can take or cannot take alike.
  std::string ClassKey() const;
};

// `resolved` has every default. Without the storage, which changes with the job's checkpoints.
JobNeeds NeedsOf(const v1::JobSpec& resolved);

}  // namespace mantissa::server
