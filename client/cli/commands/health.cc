#include "client/cli/commands/health.h"

#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

namespace mantissa::cli {
namespace {

// Of grpc.health.v1.HealthCheckResponse.ServingStatus, by number.
std::string NameOf(int status) {
  constexpr std::array<const char*, 4> kNames = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  return status >= 0 && status < static_cast<int>(kNames.size()) ? kNames[status] : absl::StrCat(status);
}

constexpr int kServing = 1;

}  // namespace

int Health(const Context& context, const HealthOptions& options) {
  const std::string service = options.live ? "" : "mantissa.v1.JobService";
  const absl::StatusOr<int> status = context.connection.AskHealth(service);
  if (!status.ok()) return context.console.Fail(status.status());
  if (IsStructured(context.format)) {
    const nlohmann::ordered_json answer = {
        {"address", context.connection.address()}, {"service", service}, {"status", NameOf(*status)}};
    PrintJson(context.console, context.format, answer.dump(2) + "\n");
  } else {
    context.console.out.Write(absl::StrCat(NameOf(*status), "\n"));
  }
  return *status == kServing ? kExitOk : kExitUnavailable;
}

}  // namespace mantissa::cli
