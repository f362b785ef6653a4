#include "client/cli/channel_access.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/access_token.h"
#include "process/tls_files.h"

namespace mantissa::cli {
namespace {

// What every call carries. gRPC takes it to a server over TLS only.
class CallMetadata final : public grpc::MetadataCredentialsPlugin {
 public:
  CallMetadata(const std::string& token, const std::string& tenant) {
    if (!token.empty()) metadata_["authorization"] = "Bearer " + token;
    if (!tenant.empty()) metadata_["mantissa-tenant"] = tenant;
  }

  bool IsBlocking() const override { return false; }

  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<std::string, std::string>* metadata) override {
    metadata->insert(metadata_.begin(), metadata_.end());
    return grpc::Status::OK;
  }

  // gRPC's own would be free to say more in a log.
  std::string DebugString() override { return "a token or tenant"; }

 private:
  std::map<std::string, std::string> metadata_;
};

}  // namespace

ChannelAccess PlainText() { return {grpc::InsecureChannelCredentials(), ""}; }

absl::StatusOr<ChannelAccess> OpenAccess(const AccessSettings& settings, const std::string& address,
                                         process::WallTime now) {
  const process::TlsFiles files{
      .certificate = settings.tls_certificate, .key = settings.tls_key, .ca = settings.tls_ca};
  const std::string secret_flag =
      !settings.token_file.empty() ? "--token-file" : (settings.tenant.empty() ? "" : "--tenant");
  absl::StatusOr<process::TlsPems> pems = process::ReadCallersTlsFiles(files, secret_flag, now);
  if (!pems.ok()) return pems.status();
  absl::Status named = process::CheckServerName(files, "--address", address, settings.tls_server_name);
  if (!named.ok()) return named;
  std::string token;
  if (!settings.token_file.empty()) {
    absl::StatusOr<std::string> read = process::ReadTokenFile(settings.token_file);
    if (!read.ok()) return absl::Status(read.status().code(), absl::StrCat("--token-file: ", read.status().message()));
    token = *std::move(read);
  }
  if (!settings.tenant.empty() && !process::IsAccessName(settings.tenant)) {
    return absl::InvalidArgumentError("--tenant: must be 1 to 63 of a-z, 0-9 and -, such as vision");
  }
  if (settings.tls_ca.empty()) return PlainText();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pems->ca;
  options.pem_cert_chain = pems->certificate;
  options.pem_private_key = pems->key;
  ChannelAccess access{grpc::SslCredentials(options), settings.tls_server_name};
  if (!token.empty() || !settings.tenant.empty()) {
    access.credentials = grpc::CompositeChannelCredentials(
        access.credentials,
        grpc::MetadataCredentialsFromPlugin(std::make_unique<CallMetadata>(token, settings.tenant)));
  }
  return access;
}

}  // namespace mantissa::cli
