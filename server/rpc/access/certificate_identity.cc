#include "server/rpc/access/certificate_identity.h"

#include <optional>

#include "absl/strings/str_split.h"

#include "server/core/errors.h"

namespace mantissa::server {
namespace {

constexpr std::string_view kTrustDomain = "spiffe://mantissa/";

absl::Status Unknown() {
  return ErrorWithReason(
      absl::StatusCode::kUnauthenticated, "UNKNOWN_IDENTITY",
      "the client certificate names nobody that this server knows; exactly one URI among its subject "
      "alternative names must be spiffe://mantissa/worker/ID, spiffe://mantissa/workers/POOL or "
      "spiffe://mantissa/tenant/TENANT/reader|user|admin");
}

}  // namespace

absl::StatusOr<CertificateIdentity> IdentityOfUris(const std::vector<std::string>& uris) {
  std::optional<std::string> ours;
  for (const std::string& uri : uris) {
    if (!uri.starts_with(kTrustDomain)) continue;
    if (ours) return Unknown();
    ours = uri.substr(kTrustDomain.size());
  }
  if (!ours) return Unknown();
  const std::vector<std::string> parts = absl::StrSplit(*ours, '/');
  CertificateIdentity identity;
  if (parts.size() == 2 && parts[0] == "worker" && process::IsAccessName(parts[1])) {
    identity.worker_id = parts[1];
    return identity;
  }
  if (parts.size() == 2 && parts[0] == "workers" && process::IsAccessName(parts[1])) {
    identity.worker_pool = parts[1];
    return identity;
  }
  if (parts.size() == 3 && parts[0] == "tenant" && process::IsAccessName(parts[1])) {
    if (const std::optional<process::Role> role = process::ParseRole(parts[2])) {
      identity.tenant = parts[1];
      identity.role = *role;
      return identity;
    }
  }
  return Unknown();
}

}  // namespace mantissa::server
