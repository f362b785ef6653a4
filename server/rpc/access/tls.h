// TLS of the server's socket.
#pragma once

#include <memory>

#include "grpcpp/security/server_credentials.h"

#include "process/clock.h"
#include "process/tls_files.h"
#include "server/rpc/access/access.h"

namespace mantissa::server {

// Of `files`, which were checked and are read again when they change; nothing of TLS where there is no certificate.
// With a CA, clients may show a certificate that it signed, and others are refused.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const process::TlsFiles& files);

// Puts `access` before every call, for credentials of TLS: callers whom it does not know are refused before a byte of
// their messages is kept, and what has no handler of ours (reflection, methods that are none) is decided there, too.
// All of them outlive the server.
void GuardBy(Access& access, const process::Clock& clock, ServerMetrics& metrics, grpc::ServerCredentials& credentials);

}  // namespace mantissa::server
