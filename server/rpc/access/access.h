#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"

#include "process/clock.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/caller.h"
#include "server/rpc/access/memory_bound.h"
#include "server/rpc/access/method_table.h"
#include "server/rpc/access/tenant_limits.h"
#include "server/rpc/access/token_table.h"

namespace mantissa::server {

// The one of a server that asks nobody who he is, and of who names none.
inline constexpr char kDefaultTenant[] = "default";
// Metadata of a call in which an admin names the tenant that it is about.
inline constexpr char kTenantMetadata[] = "mantissa-tenant";

// Decides about every call before its handler does anything: who makes it, whether the method table lets him, whether
// his tenant has not had its share yet. A method without a row is for nobody, whatever a caller shows.
//
// Where nobody has to sign, everybody is anyone: of tenant `default`, may call whatever has a row, and costs no more
// than looking that up. Thread-safe.
class Access {
 public:
  // `tokens` is null where none are taken. `memory` and `metrics` outlive it.
  Access(bool authenticates, std::shared_ptr<const TokenTable> tokens, TenantLimitOptions limits, MemoryBound& memory,
         ServerMetrics& metrics);

  // UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED, with a reason, for a call that may not be made.
  absl::StatusOr<Caller> Admit(const grpc::ServerContextBase& context, std::string_view method,
                               process::SteadyTime now);

  // The same but for the tenant's rate, for what has no handler of ours. `peer` is null where TLS knows nobody.
  using Metadata = std::multimap<grpc::string_ref, grpc::string_ref>;
  absl::StatusOr<Caller> Check(const grpc::AuthContext* peer, const Metadata& metadata, std::string_view method) const;

  // Of a call that Check let pass, when it arrives: RESOURCE_EXHAUSTED, reason SHED, where its tenant calls as often
  // as it may, or more, and the process has no memory to let such calls wait for their refusal (Note [Shedding]).
  absl::Status Arrive(const Caller& caller, process::SteadyTime now);

  // A place among the streams of the caller's tenant, given back with the last copy; null for who needs none.
  absl::StatusOr<std::shared_ptr<void>> OpenStream(const Caller& caller);

  // UNAUTHENTICATED once the token of `caller` is taken back. Its newest version is noted there.
  absl::Status StillHolds(Caller& caller) const;

 private:
  absl::StatusOr<Caller> Identify(const grpc::AuthContext* peer, const Metadata& metadata, unsigned& is) const;
  absl::StatusOr<Caller> ByToken(std::string_view authorization, unsigned& is) const;
  absl::Status Counted(const absl::Status& refusal);

  const bool authenticates_;
  const std::shared_ptr<const TokenTable> tokens_;
  TenantLimits limits_;
  MemoryBound& memory_;
  ServerMetrics& metrics_;
};

}  // namespace mantissa::server
