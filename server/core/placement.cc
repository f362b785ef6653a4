#include "server/core/placement.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/features.h"

namespace mantissa::server {
namespace {

constexpr size_t kWorkersExplained = 4;

bool HasCuda(const WorkerView& worker) {
  return std::any_of(worker.devices.begin(), worker.devices.end(),
                     [](const DeviceView& view) { return view.device.kind() == v1::Device::CUDA; });
}

// Host memory, as the worker's CPU device states it; 0 where it states none.
int64_t HostMemory(const WorkerView& worker) {
  for (const DeviceView& view : worker.devices) {
    if (view.device.kind() == v1::Device::CPU) return view.device.memory_bytes();
  }
  return 0;
}

// The first that the device has no arithmetic of. One that does not say what it has is taken to have all.
std::optional<v1::PrecisionSpec::Mode> LackingPrecision(const JobNeeds& needs, const v1::Device& device) {
  const auto& offered = device.precisions();
  if (offered.empty()) return std::nullopt;
  for (const v1::PrecisionSpec::Mode precision : needs.precisions) {
    if (std::find(offered.begin(), offered.end(), precision) == offered.end()) return precision;
  }
  return std::nullopt;
}

// What keeps this device from ever taking the job; empty when nothing does.
std::string DeviceObstacle(const JobNeeds& needs, const std::string& worker, const v1::Device& device) {
  const bool cuda = device.kind() == v1::Device::CUDA;
  if (needs.device == v1::ResourceSpec::CUDA && !cuda) {
    return absl::StrCat("needs a CUDA device (", worker, " has none)");
  }
  if (needs.device == v1::ResourceSpec::CPU && cuda) {
    return absl::StrCat("needs a CPU device (", worker, " offers none)");
  }
  if (const auto lacking = LackingPrecision(needs, device); lacking && !needs.emulate) {
    return absl::StrCat("needs precision ", v1::PrecisionSpec::Mode_Name(*lacking), " (", device.id(), " on ", worker,
                        " lacks it)");
  }
  if (!cuda) {
    if (needs.cpu_threads > device.cpu_threads()) {
      return absl::StrCat("needs ", needs.cpu_threads, " CPU threads (", device.id(), " on ", worker, " has ",
                          device.cpu_threads(), ")");
    }
    return "";
  }
  if (!needs.gpu_model.empty() && device.model().find(needs.gpu_model) == std::string::npos) {
    return absl::StrCat("needs GPU model ", needs.gpu_model, " (", device.id(), " on ", worker, " is ", device.model(),
                        ")");
  }
  if (device.memory_bytes() < needs.gpu_memory_bytes) {
    return absl::StrCat("needs ", needs.gpu_memory_bytes, " bytes of GPU memory (", device.id(), " on ", worker,
                        " has ", device.memory_bytes(), ")");
  }
  if (ParseComputeCapability(device.compute_capability()) < needs.compute_capability) {
    return absl::StrCat("needs compute capability ", needs.compute_capability.major, ".",
                        needs.compute_capability.minor, " (", device.id(), " on ", worker, " has ",
                        device.compute_capability().empty() ? "none" : device.compute_capability(), ")");
  }
  return "";
}

// The same for the worker as a whole.
std::string WorkerObstacle(const JobNeeds& needs, const WorkerView& worker) {
  if (!worker.takes_work) {
    return absl::StrCat(worker.id, " takes no work: it drains, or has not been heard of");
  }
  for (const auto& [name, value] : needs.labels) {
    auto label = worker.labels.find(name);
    if (label == worker.labels.end())
      return absl::StrCat("needs label ", name, "=", value, " (", worker.id, " has no ", name, ")");
    if (label->second != value) {
      return absl::StrCat("needs label ", name, "=", value, " (", worker.id, " has ", name, "=", label->second, ")");
    }
  }
  const std::vector<std::string> missing = spec::MissingFeatures(needs.features, worker.features);
  if (!missing.empty())
    return absl::StrCat("needs feature ", absl::StrJoin(missing, ", "), " (", worker.id, " lacks it)");
  const int64_t memory = HostMemory(worker);
  if (memory > 0 && needs.memory_bytes > memory) {
    return absl::StrCat("needs ", needs.memory_bytes, " bytes of memory (", worker.id, " has ", memory, ")");
  }
  return "";
}

bool Reaches(const JobNeeds& needs, const WorkerView& worker) {
  return needs.storage_id.empty() || worker.storage_ids.count(needs.storage_id) > 0;
}

// Some device of it would do, busy or not.
bool Fits(const JobNeeds& needs, const WorkerView& worker) {
  return WorkerObstacle(needs, worker).empty() &&
         std::any_of(worker.devices.begin(), worker.devices.end(),
                     [&](const DeviceView& view) { return DeviceObstacle(needs, worker.id, view.device).empty(); });
}

bool HasRoom(const JobNeeds& needs, const WorkerView& worker) {
  const int64_t memory = HostMemory(worker);
  return memory == 0 || needs.memory_bytes == 0 || needs.memory_bytes <= memory - worker.promised_memory_bytes;
}

// The checkpoint's storage binds the job to the workers that reach it. Only where none of those could ever take it
// does a job that said so start from scratch.
bool StorageBinds(const JobNeeds& needs, const std::vector<WorkerView>& workers) {
  if (needs.storage_id.empty()) return false;
  if (!needs.storage_optional) return true;
  return std::any_of(workers.begin(), workers.end(),
                     [&](const WorkerView& worker) { return Reaches(needs, worker) && Fits(needs, worker); });
}

// Smaller is better. What has every precision before what would emulate one; GPUs first; of GPUs the one with the least
// memory, of CPUs the one whose worker has no GPU that its host threads may be feeding.
using Fitness = std::tuple<bool, bool, int64_t, bool, int32_t>;

Fitness FitnessOf(const JobNeeds& needs, const WorkerView& worker, const v1::Device& device) {
  const bool cuda = device.kind() == v1::Device::CUDA;
  return {LackingPrecision(needs, device).has_value(), !cuda, cuda ? device.memory_bytes() : 0,
          !cuda && HasCuda(worker), cuda ? 0 : device.cpu_threads()};
}

// When the worker is empty if it gets nothing more; kNoLimit where that is not known.
std::chrono::milliseconds EmptyWithin(const WorkerView& worker) {
  std::chrono::milliseconds longest{0};
  for (const RunningView& running : worker.running) longest = std::max(longest, running.ends_within);
  return longest;
}

bool IsKeptFromIt(const WaitingJob& job, const WorkerView& worker, const std::optional<Reservation>& reserved) {
  if (!reserved || reserved->worker_id != worker.id || reserved->job_id == job.id) return false;
  return job.attempt_limit == kNoLimit || job.attempt_limit > EmptyWithin(worker);
}

std::optional<PlacementChoice> ChooseDevice(const WaitingJob& job, const std::vector<WorkerView>& workers,
                                            const std::optional<Reservation>& reserved) {
  const JobNeeds& needs = job.needs;
  const bool storage_binds = StorageBinds(needs, workers);
  std::optional<PlacementChoice> best;
  Fitness best_fitness;
  for (size_t w = 0; w < workers.size(); ++w) {
    const WorkerView& worker = workers[w];
    if (IsKeptFromIt(job, worker, reserved)) continue;
    if (storage_binds && !Reaches(needs, worker)) continue;
    if (!WorkerObstacle(needs, worker).empty() || !HasRoom(needs, worker)) continue;
    for (size_t d = 0; d < worker.devices.size(); ++d) {
      const DeviceView& view = worker.devices[d];
      if (!view.free || !DeviceObstacle(needs, worker.id, view.device).empty()) continue;
      const Fitness fitness = FitnessOf(needs, worker, view.device);
      if (best && best_fitness <= fitness) continue;
      best = PlacementChoice{0, w, d, !needs.storage_id.empty() && !Reaches(needs, worker)};
      best_fitness = fitness;
    }
  }
  return best;
}

// Of all devices' obstacles the one that is furthest along: what a person would have to change last.
std::string NearestObstacle(const JobNeeds& needs, const WorkerView& worker) {
  std::string obstacle = WorkerObstacle(needs, worker);
  if (!obstacle.empty()) return obstacle;
  if (worker.devices.empty()) return absl::StrCat(worker.id, " offers no device");
  bool wrong_kind = false;
  for (const DeviceView& view : worker.devices) {
    const std::string reason = DeviceObstacle(needs, worker.id, view.device);
    const bool is_kind = (needs.device == v1::ResourceSpec::CUDA && view.device.kind() != v1::Device::CUDA) ||
                         (needs.device == v1::ResourceSpec::CPU && view.device.kind() == v1::Device::CUDA);
    if (obstacle.empty() || (wrong_kind && !is_kind)) {
      obstacle = reason;
      wrong_kind = is_kind;
    }
  }
  return obstacle;
}

}  // namespace

std::optional<PlacementChoice> ChoosePlacement(const PlacementSnapshot& snapshot) {
  for (size_t i = 0; i < snapshot.jobs.size(); ++i) {
    if (auto choice = ChooseDevice(snapshot.jobs[i], snapshot.workers, snapshot.reserved)) {
      choice->job = i;
      return choice;
    }
  }
  return std::nullopt;
}

std::optional<size_t> ChooseReserved(const JobNeeds& needs, const std::vector<WorkerView>& workers) {
  const bool storage_binds = StorageBinds(needs, workers);
  std::optional<size_t> best;
  for (size_t w = 0; w < workers.size(); ++w) {
    if ((storage_binds && !Reaches(needs, workers[w])) || !Fits(needs, workers[w])) continue;
    const auto burden = [&](size_t i) {
      return std::tuple(workers[i].promised_memory_bytes, workers[i].running.size(), i);
    };
    if (!best || burden(w) < burden(*best)) best = w;
  }
  return best;
}

std::optional<Victim> ChooseVictim(const JobNeeds& needs, int32_t priority, int32_t protected_from,
                                   const std::vector<WorkerView>& workers) {
  const bool storage_binds = StorageBinds(needs, workers);
  std::optional<Victim> best;
  const auto worth = [&](const Victim& victim) {
    const RunningView& running = workers[victim.worker].running[victim.running];
    return std::pair(running.priority, -running.since.time_since_epoch().count());
  };
  for (size_t w = 0; w < workers.size(); ++w) {
    const WorkerView& worker = workers[w];
    if ((storage_binds && !Reaches(needs, worker)) || !WorkerObstacle(needs, worker).empty()) continue;
    for (size_t r = 0; r < worker.running.size(); ++r) {
      const RunningView& running = worker.running[r];
      if (!DeviceObstacle(needs, worker.id, worker.devices[running.device].device).empty()) continue;
      WorkerView without = worker;
      without.promised_memory_bytes -= running.memory_bytes;
      if (!HasRoom(needs, without)) continue;
      if (running.leaving) return std::nullopt;
      if (running.priority >= protected_from || running.priority >= priority) continue;
      const Victim victim{w, r};
      if (!best || worth(victim) < worth(*best)) best = victim;
    }
  }
  return best;
}

bool FitsAnywhere(const JobNeeds& needs, const std::vector<WorkerView>& workers) {
  const bool storage_binds = StorageBinds(needs, workers);
  return std::any_of(workers.begin(), workers.end(), [&](const WorkerView& worker) {
    return (!storage_binds || Reaches(needs, worker)) && Fits(needs, worker);
  });
}

WaitReason ExplainWait(const JobNeeds& needs, const std::vector<WorkerView>& workers) {
  if (workers.empty()) return {v1::Reason::WAITING_FOR_WORKER, "no worker is connected; start mantissa-worker"};
  const bool storage_binds = StorageBinds(needs, workers);
  if (storage_binds && std::none_of(workers.begin(), workers.end(), [&](const WorkerView& worker) {
        return worker.takes_work && Reaches(needs, worker);
      })) {
    return {
        v1::Reason::CHECKPOINT_UNREACHABLE,
        absl::StrCat(needs.initialises ? "the checkpoint that training.init_from names" : "its checkpoint",
                     " is on storage ", needs.storage_id, ", which no worker that takes work reaches; start one there",
                     needs.initialises ? "" : ", or submit with retry.restart_without_checkpoint")};
  }
  std::vector<std::string> obstacles;
  for (const WorkerView& worker : workers) {
    if (storage_binds && !Reaches(needs, worker)) {
      obstacles.push_back(absl::StrCat("needs storage ", needs.storage_id, " (", worker.id, " does not reach it)"));
      continue;
    }
    if (Fits(needs, worker)) {
      return {v1::Reason::WAITING_FOR_WORKER, "waits for a free device: every one that fits is taken"};
    }
    obstacles.push_back(NearestObstacle(needs, worker));
  }
  const size_t left_out = obstacles.size() > kWorkersExplained ? obstacles.size() - kWorkersExplained : 0;
  obstacles.resize(obstacles.size() - left_out);
  std::string message = absl::StrJoin(obstacles, "; ");
  if (left_out > 0) absl::StrAppend(&message, "; and ", left_out, " more workers");
  return {v1::Reason::WAITING_FOR_WORKER, std::move(message)};
}

}  // namespace mantissa::server
