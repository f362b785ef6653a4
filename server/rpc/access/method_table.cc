#include "server/rpc/access/method_table.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace mantissa::server {
namespace {

constexpr unsigned kReaders = kReader | kUser | kAdmin;
constexpr unsigned kUsers = kUser | kAdmin;
constexpr unsigned kAdmins = kAdmin;
constexpr unsigned kWorkers = kWorker;
constexpr unsigned kEverybody = kReaders | kWorker | kAnonymous;

constexpr auto kTable = std::to_array<MethodRow>({
    {"AdminService/DrainWorker", kAdmins},
    {"AdminService/GetServerInfo", kReaders},
    {"AdminService/ListWorkers", kReaders},  // what runs there is for admins only
    {"AdminService/RequeueJob", kAdmins},

    {"JobService/CancelJob", kUsers},
    {"JobService/CancelJobs", kUsers},
    {"JobService/DeleteJob", kUsers},
    {"JobService/DownloadArtifact", kReaders},
    {"JobService/GetJob", kReaders},
    {"JobService/GetReport", kReaders},
    {"JobService/ListArtifacts", kReaders},
    {"JobService/ListAttempts", kReaders},
    {"JobService/ListCheckpoints", kReaders},
    {"JobService/ListEvents", kReaders},
    {"JobService/ListJobs", kReaders},
    {"JobService/ListRoots", kReaders},
    {"JobService/PauseJob", kUsers},
    {"JobService/QueryHistory", kReaders},
    {"JobService/ReadLogs", kReaders},
    {"JobService/ResumeJob", kUsers},
    {"JobService/SubmitJob", kUsers},
    {"JobService/SubmitJobs", kUsers},
    {"JobService/UpdateJob", kUsers},
    {"JobService/WatchJob", kReaders},
    {"JobService/WatchJobs", kReaders},

    {"WorkerService/CommitCheckpoint", kWorkers},
    {"WorkerService/PublishLogs", kWorkers},
    {"WorkerService/PublishTelemetry", kWorkers},
    {"WorkerService/Synchronize", kWorkers},
    {"WorkerService/UploadArtifact", kWorkers},

    {"externalscaler.ExternalScaler/GetMetricSpec", kReaders},
    {"externalscaler.ExternalScaler/GetMetrics", kReaders},  // of the jobs that they see
    {"externalscaler.ExternalScaler/IsActive", kReaders},
    {"externalscaler.ExternalScaler/StreamIsActive", kReaders},

    // An orchestrator asks before it has anything to show.
    {"grpc.health.v1.Health/Check", kEverybody},
    {"grpc.health.v1.Health/Watch", kEverybody},
    {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kReaders},
});

constexpr bool IsBefore(const MethodRow& a, const MethodRow& b) { return a.method < b.method; }
static_assert(std::is_sorted(kTable.begin(), kTable.end(), IsBefore), "it is searched by halves");

constexpr std::string_view kOurPackage = "mantissa.v1.";

}  // namespace

absl::Span<const MethodRow> MethodTable() { return kTable; }

unsigned WhoMayCall(std::string_view method) {
  const auto row = std::lower_bound(kTable.begin(), kTable.end(), MethodRow{method, kNobody}, IsBefore);
  return row != kTable.end() && row->method == method ? row->who : kNobody;
}

std::string_view MethodOfPath(std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  if (path.starts_with(kOurPackage)) path.remove_prefix(kOurPackage.size());
  return path;
}

std::string WhoText(unsigned who) {
  std::vector<std::string> names;
  for (const auto& [bit, name] : {std::pair(kReader, "reader"), std::pair(kUser, "user"), std::pair(kAdmin, "admin"),
                                  std::pair(kWorker, "worker")}) {
    if ((who & bit) != 0) names.emplace_back(name);
  }
  std::string text = names.empty() ? "nobody" : names[0];
  for (size_t i = 1; i < names.size(); ++i) text += (i + 1 == names.size() ? " or " : ", ") + names[i];
  return text;
}

}  // namespace mantissa::server
