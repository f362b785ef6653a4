#include "server/rpc/access/tls.h"

#include <string_view>
#include <utility>

#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

#include "server/core/errors.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

constexpr unsigned kReloadSeconds = 1;
constexpr std::string_view kOurServices = "/mantissa.v1.";

// Knows a caller by metadata and certificate alone. Only a handler's refusal can carry a reason, and the time to try
// again; so what is known and still refused is left to it.
class Gate final : public grpc::AuthMetadataProcessor {
 public:
  Gate(Access& access, const process::Clock& clock, ServerMetrics& metrics)
      : access_(access), clock_(clock), metrics_(metrics) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata*,
                       OutputMetadata*) override {
    const auto path = metadata.find(":path");
    const std::string_view called =
        path == metadata.end() ? "" : std::string_view(path->second.data(), path->second.size());
    const std::string_view method = MethodOfPath(called);
    const absl::StatusOr<Caller> caller = access_.Check(peer, metadata, method);
    const bool has_handler = called.starts_with(kOurServices) && WhoMayCall(method) != kNobody;
    if (!caller.ok() && has_handler && !absl::IsUnauthenticated(caller.status())) return grpc::Status::OK;
    const absl::Status decided = caller.ok() ? access_.Arrive(*caller, clock_.Now()) : caller.status();
    if (decided.ok()) return grpc::Status::OK;
    metrics_.refused_calls.Add({{"reason", ReasonOf(decided)}}).Increment();
    return ToGrpcStatus(decided);
  }

 private:
  Access& access_;
  const process::Clock& clock_;
  ServerMetrics& metrics_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const process::TlsFiles& files) {
  if (files.certificate.empty()) return grpc::InsecureServerCredentials();
  namespace tls = grpc::experimental;
  tls::TlsServerCredentialsOptions options(
      std::make_shared<tls::FileWatcherCertificateProvider>(files.key, files.certificate, files.ca, kReloadSeconds));
  options.watch_identity_key_cert_pairs();
  if (!files.ca.empty()) options.watch_root_certs();
  options.set_cert_request_type(files.ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                 : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  return tls::TlsServerCredentials(options);
}

void GuardBy(Access& access, const process::Clock& clock, ServerMetrics& metrics,
             grpc::ServerCredentials& credentials) {
  credentials.SetAuthMetadataProcessor(std::make_shared<Gate>(access, clock, metrics));
}

}  // namespace mantissa::server
