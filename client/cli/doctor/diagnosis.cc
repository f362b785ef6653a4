#include "client/cli/doctor/diagnosis.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

using Level = Finding::Level;

// CUDA that our plug-in is built with, and the oldest driver that serves it.
constexpr int kCudaVersion = 13000;
constexpr std::string_view kMinDriver = "580";
constexpr std::int64_t kLowDiskBytes = std::int64_t{1} << 30;
// A connected worker reports at least every few seconds, so its last report dates the server's clock that well.
constexpr std::chrono::seconds kReportInterval{30};

void AddServer(const DoctorFacts& facts, std::vector<Finding>& findings) {
  if (!facts.server) {
    findings.push_back({Level::kError, "server", std::string(facts.reached.message()),
                        "start one with `mantissa-server`, or name its address with --address or MANTISSA_ADDRESS"});
    return;
  }
  const v1::ServerInfo& server = *facts.server;
  findings.push_back({Level::kOk, "server",
                      absl::StrCat("answers at ", facts.address, ": version ", ForTerminal(server.version()), ", gRPC ",
                                   ForTerminal(server.grpc_version()), ", store ", ForTerminal(server.store()),
                                   " (schema ", server.schema_version(), ")"),
                      ""});
  if (server.version() == facts.own_version) {
    findings.push_back(
        {Level::kOk, "version", absl::StrCat("this program and the server are both ", facts.own_version), ""});
  } else {
    findings.push_back(
        {Level::kWarning, "version",
         absl::StrCat("this program is ", facts.own_version, ", the server ", ForTerminal(server.version())),
         "install the server's version here; one version apart works, more may not"});
  }
}

void AddClock(const DoctorFacts& facts, std::vector<Finding>& findings) {
  if (!facts.workers) return;
  std::int64_t newest = 0;
  for (const v1::Worker& worker : *facts.workers) {
    if (worker.connected()) newest = std::max(newest, worker.last_seen_time().seconds());
  }
  if (newest == 0) {
    findings.push_back({Level::kNote, "clock", "can't be compared with the server's while no worker is connected", ""});
    return;
  }
  const std::int64_t now = std::chrono::duration_cast<std::chrono::seconds>(facts.now.time_since_epoch()).count();
  const std::int64_t ahead = now - newest;
  if (ahead >= -2 && ahead <= kReportInterval.count()) {
    findings.push_back({Level::kOk, "clock", "agrees with the server's", ""});
    return;
  }
  findings.push_back({Level::kWarning, "clock",
                      absl::StrCat("is about ", SpanText(static_cast<double>(std::llabs(ahead))),
                                   ahead > 0 ? " ahead of" : " behind", " the server's"),
                      "switch time synchronisation on (`timedatectl set-ntp true`); ages and times shown are off until "
                      "then, leases are not affected"});
}

void AddWorkers(const DoctorFacts& facts, std::vector<Finding>& findings) {
  if (!facts.workers) return;
  int connected = 0;
  for (const v1::Worker& worker : *facts.workers) {
    const std::string id = ForTerminal(worker.id());
    if (!worker.connected()) {
      findings.push_back({Level::kWarning, "worker", absl::StrCat(id, " is away"),
                          "start `mantissa-worker` there, or look at its log"});
      continue;
    }
    ++connected;
    std::vector<std::string> devices;
    for (const v1::Device& device : worker.devices()) {
      devices.push_back(ForTerminal(absl::StrCat(device.id(), device.model().empty() ? "" : " " + device.model())));
    }
    findings.push_back(
        {devices.empty() ? Level::kWarning : Level::kOk, "worker",
         absl::StrCat(id, worker.draining() ? " is draining" : " is connected",
                      ", devices: ", devices.empty() ? "none" : absl::StrJoin(devices, ", "),
                      worker.sandbox_level().empty() ? "" : ", sandbox " + ForTerminal(worker.sandbox_level())),
         devices.empty() ? "its log says why no device was found" : ""});
    if (worker.roots().empty()) {
      findings.push_back({Level::kWarning, "roots", absl::StrCat(id, " has none, so it can read no data files"),
                          "give it one: mantissa-worker --root data=/srv/data"});
    }
    for (const v1::Root& root : worker.roots()) {
      const std::string what = absl::StrCat(ForTerminal(root.name()), " on ", id, ": ", SizeText(root.free_bytes()),
                                            " free, ", root.writable() ? "writable" : "read only");
      const bool low = root.writable() && root.free_bytes() < kLowDiskBytes;
      findings.push_back({low ? Level::kWarning : Level::kOk, "disk", what,
                          low ? "make room; checkpoints fail when the disk is full" : ""});
    }
  }
  if (connected == 0) {
    findings.push_back({Level::kError, "workers", "none is connected, so jobs stay QUEUED",
                        "start one: mantissa-worker --server ADDRESS"});
  }
}

void AddGpu(const DoctorFacts& facts, std::vector<Finding>& findings) {
  const GpuFacts& gpu = facts.gpu;
  if (!gpu.library) {
    if (gpu.device_files || !gpu.error.empty()) {
      findings.push_back({Level::kError, "gpu",
                          gpu.error.empty() ? "a GPU is here, but libnvidia-ml.so.1 is not"
                                            : absl::StrCat("the driver does not answer: ", gpu.error),
                          "install the driver's user-space library of the same version as the kernel module, or reboot "
                          "after a driver update; in a container use --gpus all"});
    } else {
      findings.push_back({Level::kNote, "gpu", "none on this machine; jobs run on the CPU here", ""});
    }
    return;
  }
  if (gpu.cuda_version > 0 && gpu.cuda_version < kCudaVersion) {
    findings.push_back({Level::kError, "driver",
                        absl::StrCat("version ", gpu.driver_version, " serves CUDA ", gpu.cuda_version / 1000, ".",
                                     gpu.cuda_version % 1000 / 10, ", the worker needs 13.0"),
                        absl::StrCat("install driver ", std::string(kMinDriver), " or newer")});
  } else {
    findings.push_back({Level::kOk, "driver",
                        absl::StrCat("version ", gpu.driver_version, ", CUDA ", gpu.cuda_version / 1000, ".",
                                     gpu.cuda_version % 1000 / 10),
                        ""});
  }
  for (const GpuFacts::Gpu& device : gpu.gpus) {
    findings.push_back({Level::kOk, "gpu",
                        absl::StrCat(device.name, ", ", SizeText(device.memory_bytes), ", compute capability ",
                                     device.compute_capability),
                        ""});
  }
}

// A worker that could not use the GPU beside it has said why in its log, and nowhere else.
void AddUnusedGpu(const DoctorFacts& facts, std::vector<Finding>& findings) {
  if (facts.gpu.gpus.empty() || !facts.workers) return;
  for (const v1::Worker& worker : *facts.workers) {
    if (!worker.connected() || worker.host_name() != facts.host_name) continue;
    const bool offers = std::any_of(worker.devices().begin(), worker.devices().end(),
                                    [](const v1::Device& device) { return device.kind() == v1::Device::CUDA; });
    if (offers) continue;
    findings.push_back({Level::kWarning, "gpu",
                        absl::StrCat("worker ", ForTerminal(worker.id()), " on this machine offers none of its GPUs"),
                        "its log says why, in the line `this machine's GPU is not offered`"});
  }
}

}  // namespace

std::vector<Finding> Diagnose(const DoctorFacts& facts) {
  std::vector<Finding> findings;
  AddServer(facts, findings);
  AddClock(facts, findings);
  AddWorkers(facts, findings);
  AddGpu(facts, findings);
  AddUnusedGpu(facts, findings);
  const bool low = facts.free_here_bytes < kLowDiskBytes;
  findings.push_back({low ? Level::kWarning : Level::kOk, "disk",
                      absl::StrCat("this folder: ", SizeText(facts.free_here_bytes), " free"),
                      low ? "make room before you download a model" : ""});
  return findings;
}

}  // namespace mantissa::cli
