// How the command shows a server who it is, and knows the server.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include <grpcpp/security/credentials.h>

#include "process/clock.h"

namespace mantissa::cli {

// As given; empty where nothing was.
struct AccessSettings {
  std::string tls_ca;  // PEM files
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_server_name;  // in the server's certificate, where it is not the address
  std::string token_file;       // holds a bearer token
  std::string tenant;           // that an admin's calls are about
};

struct ChannelAccess {
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  std::string server_name;
};

// Neither TLS nor anything to show.
ChannelAccess PlainText();

// Reads the files, to be shown to `address`. INVALID_ARGUMENT, NOT_FOUND or PERMISSION_DENIED names the flag, what is
// wrong and what would be right; never anything of a token or key.
absl::StatusOr<ChannelAccess> OpenAccess(const AccessSettings& settings, const std::string& address,
                                         process::WallTime now);

}  // namespace mantissa::cli
