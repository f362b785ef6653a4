// What a look at the machine and the server means.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "client/cli/doctor/gpu_probe.h"
#include "mantissa/v1/admin_service.pb.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"

namespace mantissa::cli {

// What was seen. Replies are absent when the server did not give them.
struct DoctorFacts {
  std::string own_version;
  std::string address;
  std::string host_name;  // of this machine
  absl::Status reached;
  std::optional<v1::ServerInfo> server;
  std::optional<std::vector<v1::Worker>> workers;
  std::chrono::system_clock::time_point now;
  GpuFacts gpu;
  std::int64_t free_here_bytes = 0;  // on the disk of the current folder
};

struct Finding {
  enum class Level { kOk, kNote, kWarning, kError };
  Level level = Level::kOk;
  std::string subject;  // `server`, `clock`
  std::string what;
  std::string fix;  // what to do; empty when nothing is wrong
};

// All that can be told from the facts, in the order a person should read it. Pure.
std::vector<Finding> Diagnose(const DoctorFacts& facts);

}  // namespace mantissa::cli
