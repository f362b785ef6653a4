// Which queued job goes to which device: a pure decision over a snapshot.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "server/core/job_needs.h"

namespace mantissa::server {

// A limit that is none.
inline constexpr std::chrono::milliseconds kNoLimit = std::chrono::milliseconds::max();

struct DeviceView {
  v1::Device device;
  bool free = true;
};

// What keeps a device from being free, where that is a job that could be asked to leave it.
struct RunningView {
  std::string job_id;
  size_t device = 0;  // of the worker
  int32_t priority = 0;
  int64_t memory_bytes = 0;
  std::chrono::steady_clock::time_point since;
  std::chrono::milliseconds ends_within = kNoLimit;  // by its timeouts.attempt
  bool leaving = false;                              // asked to already
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
  std::vector<RunningView> running;
};

struct WaitingJob {
  std::string id;
  JobNeeds needs;
  std::chrono::milliseconds attempt_limit = kNoLimit;  // its timeouts.attempt
};

// A worker that is kept for a job which has waited too long for room on it: others may use it only if they are sure to
// be gone by the time that it would be empty without them.
struct Reservation {
  std::string job_id;
  std::string worker_id;
};

struct PlacementSnapshot {
  std::vector<WaitingJob> jobs;  // in the order they are to be served
  std::vector<WorkerView> workers;
  std::optional<Reservation> reserved = std::nullopt;
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

// The worker to keep for a job that nobody has room for now: of those that could take it if they were empty the one
// that has least to get rid of. Nothing where none could.
std::optional<size_t> ChooseReserved(const JobNeeds& needs, const std::vector<WorkerView>& workers);

struct Victim {
  size_t worker = 0;
  size_t running = 0;  // index into WorkerView::running
};

// Whom to ask to leave so that a job of `priority` can run: of those of a priority below `protected_from` and its own,
// on a device that would do, the least important, and of equals the one that began last. Nothing while one is on its
// way out of such a device already.
std::optional<Victim> ChooseVictim(const JobNeeds& needs, int32_t priority, int32_t protected_from,
                                   const std::vector<WorkerView>& workers);

// Some device of them would do, busy or not.
bool FitsAnywhere(const JobNeeds& needs, const std::vector<WorkerView>& workers);

struct WaitReason {
  v1::Reason::Code reason = v1::Reason::WAITING_FOR_WORKER;
  // What is missing on which worker, or that all that fit are taken. Says nothing that changes by the second.
  std::string message;
};

WaitReason ExplainWait(const JobNeeds& needs, const std::vector<WorkerView>& workers);

}  // namespace mantissa::server
