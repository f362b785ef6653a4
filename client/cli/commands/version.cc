#include "client/cli/commands/version.h"

#include "absl/strings/str_cat.h"
#include <grpcpp/grpcpp.h>
#include <nlohmann/json.hpp>

namespace mantissa::cli {

std::string OwnVersion() { return MANTISSA_VERSION; }

int Version(const Console& console, OutputFormat format) {
  if (IsStructured(format)) {
    const nlohmann::ordered_json version = {
        {"version", OwnVersion()}, {"api", "mantissa.v1"}, {"grpc_version", grpc::Version()}};
    PrintJson(console, format, version.dump(2) + "\n");
  } else {
    console.out.Write(absl::StrCat("mantissa ", OwnVersion(), " (API mantissa.v1, gRPC ", grpc::Version(), ")\n"));
  }
  return kExitOk;
}

}  // namespace mantissa::cli
