// Which queued job goes to which device: a pure decision over a snapshot.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "server/core/job_needs.h"

namespace mantissa::server {

struct DeviceView {
  v1::Device device;
  bool free = true;
};

struct WorkerView {
  std::string id;
  // Heard of lately, and not draining.
  bool takes_work = true;
  std::vector<DeviceView> devices;
  std::map<std::string, std::string> labels;
  std::vector<std::string> features;
  std::set<std::string> storage_ids;
  // Host memory that running attempts were promised.
  int64_t promised_memory_bytes = 0;
};

struct WaitingJob {
  std::string id;
  JobNeeds needs;
};

struct PlacementSnapshot {
  std::vector<WaitingJob> jobs;  // in the order they are to be served: priority, then age
  std::vector<WorkerView> workers;
};

struct PlacementChoice {
  size_t job = 0;  // index into the snapshot
  size_t worker = 0;
  size_t device = 0;
  bool from_scratch = false;  // the checkpoint's storage is out of reach and the job would rather not wait
};

// The first job, in order, that some device fits and is free for, and the device that is the tightest fit: CUDA before
// CPU for AUTO, the GPU with the least memory that suffices, the CPU of a worker without GPUs.
std::optional<PlacementChoice> ChoosePlacement(const PlacementSnapshot& snapshot);

struct WaitReason {
  v1::Reason::Code reason = v1::Reason::WAITING_FOR_WORKER;
  // What is missing on which worker, or that all that fit are taken. Says nothing that changes by the second.
  std::string message;
};

WaitReason ExplainWait(const JobNeeds& needs, const std::vector<WorkerView>& workers);

}  // namespace mantissa::server
