// Who a client certificate says that its holder is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "process/access_token.h"

namespace mantissa::server {

struct CertificateIdentity {
  // Of a worker, or of those whose ids begin with `worker_pool` and a `-`; then there is no tenant.
  std::string worker_id;
  std::string worker_pool;
  std::string tenant;
  process::Role role = process::Role::kReader;
};

// From the URIs among a certificate's subject alternative names, of which exactly one is ours:
// spiffe://mantissa/worker/ID, spiffe://mantissa/workers/POOL (for workers that share a certificate because they come
// and go, as pods do) or spiffe://mantissa/tenant/TENANT/reader|user|admin. UNAUTHENTICATED, reason UNKNOWN_IDENTITY,
// says what they must be.
absl::StatusOr<CertificateIdentity> IdentityOfUris(const std::vector<std::string>& uris);

}  // namespace mantissa::server
