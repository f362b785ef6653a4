#include "server/rpc/access/access.h"

#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpc/grpc_security_constants.h"

#include "process/access_token.h"
#include "server/core/errors.h"
#include "server/rpc/access/certificate_identity.h"

namespace mantissa::server {
namespace {

// Every one that a refusal here can have, so that a scrape of a fresh server shows them at 0.
constexpr const char* kReasons[] = {"NO_CREDENTIALS",    "TOKEN_UNKNOWN",      "TOKENS_NOT_TAKEN",   "UNKNOWN_IDENTITY",
                                    "METHOD_NOT_LISTED", "INVALID_TENANT",     "TENANT_NOT_ALLOWED", "ROLE_NOT_ALLOWED",
                                    "RATE_LIMITED",      "METADATA_TOO_LARGE", "TOO_MANY_STREAMS",   "SHED"};

// gRPC 1.51 bounds each frame of a call's metadata, and not all of them together.
constexpr size_t kMaxMetadataBytes = size_t{64} << 10;

constexpr absl::string_view kBearer = "bearer ";

Caller Anyone() {
  Caller caller;
  caller.tenant = caller.reach = kDefaultTenant;
  caller.anyone = true;
  return caller;
}

Caller OfTenant(const std::string& tenant, process::Role role, unsigned& is) {
  Caller caller;
  caller.tenant = tenant;
  switch (role) {
    case process::Role::kReader:
      is = kReader;
      break;
    case process::Role::kUser:
      is = kUser;
      break;
    case process::Role::kAdmin:
      is = kAdmin;
      caller.may_name_tenant = true;
      return caller;  // reaches everybody's
  }
  caller.reach = tenant;
  return caller;
}

absl::Status Unauthenticated(std::string_view reason, std::string_view message) {
  return ErrorWithReason(absl::StatusCode::kUnauthenticated, reason, message);
}

absl::Status TokenUnknown() {
  return Unauthenticated("TOKEN_UNKNOWN",
                         "authorization: this server does not know the token, or no longer; ask its operator for one "
                         "(`mantissa token`)");
}

// The one value of a key; nullopt where it is not there, or more than once.
std::optional<std::string_view> ValueOf(const Access::Metadata& metadata, const char* key) {
  const auto [first, last] = metadata.equal_range(key);
  if (first == last || std::next(first) != last) return std::nullopt;
  return std::string_view(first->second.data(), first->second.size());
}

std::vector<std::string> UrisOf(const grpc::AuthContext& peer) {
  std::vector<std::string> uris;
  for (const grpc::string_ref& uri : peer.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    uris.emplace_back(uri.data(), uri.size());
  }
  return uris;
}

absl::Status CheckMetadataSize(const Access::Metadata& metadata) {
  size_t bytes = 0;
  for (const auto& [key, value] : metadata) bytes += key.size() + value.size();
  if (bytes <= kMaxMetadataBytes) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, "METADATA_TOO_LARGE",
      absl::StrCat("the call's metadata has ", bytes, " bytes; at most ", kMaxMetadataBytes, " are taken; send less"));
}

absl::Status NameTenant(const Access::Metadata& metadata, Caller& caller) {
  if (!metadata.contains(kTenantMetadata)) return absl::OkStatus();
  const std::optional<std::string_view> named = ValueOf(metadata, kTenantMetadata);
  if (!named || !process::IsAccessName(*named)) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, "INVALID_TENANT",
                           "mantissa-tenant: is no name of one tenant: 1 to 63 of a-z, 0-9 and -");
  }
  if (*named == caller.tenant) {
    caller.reach = caller.tenant;
    return absl::OkStatus();
  }
  if (!caller.may_name_tenant) {
    return ErrorWithReason(absl::StatusCode::kPermissionDenied, "TENANT_NOT_ALLOWED",
                           "mantissa-tenant: only admins may name another tenant; leave it out");
  }
  caller.reach = std::string(*named);
  return absl::OkStatus();
}

}  // namespace

Access::Access(bool authenticates, std::shared_ptr<const TokenTable> tokens, TenantLimitOptions limits,
               MemoryBound& memory, ServerMetrics& metrics)
    : authenticates_(authenticates), tokens_(std::move(tokens)), limits_(limits), memory_(memory), metrics_(metrics) {
  for (const char* const reason : kReasons) metrics.refused_calls.Add({{"reason", reason}});
}

absl::StatusOr<Caller> Access::ByToken(std::string_view authorization, unsigned& is) const {
  if (!absl::StartsWithIgnoreCase(absl::string_view(authorization.data(), authorization.size()), kBearer)) {
    return Unauthenticated("TOKEN_UNKNOWN", "authorization: is not `Bearer TOKEN`");
  }
  if (!tokens_) {
    return Unauthenticated("TOKENS_NOT_TAKEN",
                           "authorization: this server takes no tokens (--tokens); show a client certificate");
  }
  authorization.remove_prefix(kBearer.size());
  const uint64_t version = tokens_->version();  // before the look, so that what changes after it is noticed
  std::string hash = process::TokenHash(authorization);
  const std::optional<process::TokenEntry> entry = tokens_->Find(hash);
  if (!entry) return TokenUnknown();
  Caller caller = OfTenant(entry->tenant, entry->role, is);
  caller.token_hash = std::move(hash);
  caller.tokens_version = version;
  return caller;
}

absl::StatusOr<Caller> Access::Identify(const grpc::AuthContext* peer, const Metadata& metadata, unsigned& is) const {
  // A token is what a caller chose to show for this call; a certificate may be its machine's.
  if (metadata.contains("authorization")) {
    const std::optional<std::string_view> authorization = ValueOf(metadata, "authorization");
    if (!authorization) return Unauthenticated("TOKEN_UNKNOWN", "authorization: is there more than once; send it once");
    return ByToken(*authorization, is);
  }
  if (peer == nullptr || !peer->IsPeerAuthenticated()) {
    is = kAnonymous;
    return Caller();
  }
  absl::StatusOr<CertificateIdentity> identity = IdentityOfUris(UrisOf(*peer));
  if (!identity.ok()) return identity.status();
  if (!identity->tenant.empty()) return OfTenant(identity->tenant, identity->role, is);
  is = kWorker;
  Caller caller;
  caller.worker_id = std::move(identity->worker_id);
  caller.worker_pool = std::move(identity->worker_pool);
  return caller;
}

absl::StatusOr<Caller> Access::Check(const grpc::AuthContext* peer, const Metadata& metadata,
                                     std::string_view method) const {
  const unsigned who = WhoMayCall(method);
  if (who == kNobody) {
    return ErrorWithReason(absl::StatusCode::kPermissionDenied, "METHOD_NOT_LISTED",
                           "nobody may call this method: it has no row in the server's table");
  }
  const absl::Status small = CheckMetadataSize(metadata);
  if (!small.ok()) return small;
  unsigned is = kAnonymous;
  absl::StatusOr<Caller> caller = authenticates_ ? Identify(peer, metadata, is) : Anyone();
  if (!caller.ok()) return caller;
  if (authenticates_ && (who & is) == 0) {
    if (is == kAnonymous) {
      return Unauthenticated("NO_CREDENTIALS",
                             "this server asks who calls; show a token (--token-file) or a client certificate "
                             "(--tls-certificate, --tls-key)");
    }
    return ErrorWithReason(absl::StatusCode::kPermissionDenied, "ROLE_NOT_ALLOWED",
                           absl::StrCat("this method is for ", WhoText(who), "; the call comes from a ", WhoText(is)));
  }
  const absl::Status named = NameTenant(metadata, *caller);
  if (!named.ok()) return named;
  return caller;
}

absl::Status Access::Counted(const absl::Status& refusal) {
  metrics_.refused_calls.Add({{"reason", ReasonOf(refusal)}}).Increment();
  return refusal;
}

absl::StatusOr<Caller> Access::Admit(const grpc::ServerContextBase& context, std::string_view method,
                                     process::SteadyTime now) {
  std::shared_ptr<const grpc::AuthContext> peer;
  if (authenticates_) peer = context.auth_context();
  absl::StatusOr<Caller> caller = Check(peer.get(), context.client_metadata(), method);
  if (!caller.ok()) return Counted(caller.status());
  // Workers call as often as the server tells them to.
  if (caller->anyone || caller->tenant.empty()) return caller;
  const absl::Status begun = limits_.BeginCall(caller->tenant, now);
  if (!begun.ok()) return Counted(begun);
  return caller;
}

// Note [Shedding]
//
// gRPC reads calls faster than handlers can be begun for them, keeps 27 KiB for each that waits (1.51), and forgets
// none that its caller has reset meanwhile: who opens and resets a hundred thousand streams takes gigabytes. What is
// refused as it arrives costs nothing, but such a refusal can carry no reason and no time to wait. So it is the last
// resort: it meets the tenant alone that calls more often than it may, and only while memory is short; else a handler
// says the same in full.
absl::Status Access::Arrive(const Caller& caller, process::SteadyTime now) {
  if (caller.anyone || caller.tenant.empty()) return absl::OkStatus();
  if (limits_.ArrivesInTime(caller.tenant, now) || !memory_.Exceeded(now)) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, "SHED",
                         absl::StrCat("tenant ", caller.tenant,
                                      " calls more often than it may, and the server has no memory left to let its "
                                      "calls wait; wait and call again"));
}

absl::StatusOr<std::shared_ptr<void>> Access::OpenStream(const Caller& caller) {
  if (caller.tenant.empty()) return nullptr;
  absl::StatusOr<std::shared_ptr<void>> place = limits_.OpenStream(caller.tenant);
  if (!place.ok()) return Counted(place.status());
  return place;
}

absl::Status Access::StillHolds(Caller& caller) const {
  if (caller.token_hash.empty()) return absl::OkStatus();
  const uint64_t version = tokens_->version();
  if (version == caller.tokens_version) return absl::OkStatus();
  const std::optional<process::TokenEntry> entry = tokens_->Find(caller.token_hash);
  if (!entry || entry->tenant != caller.tenant) return TokenUnknown();
  caller.tokens_version = version;
  return absl::OkStatus();
}

}  // namespace mantissa::server
