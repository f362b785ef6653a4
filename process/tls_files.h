// Certificates and keys in PEM files, checked before TLS uses them: what OpenSSL says of a wrong one in a handshake
// helps nobody.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/clock.h"

namespace mantissa::process {

// Paths; empty where there is none. A certificate and its key come together.
struct TlsFiles {
  std::string certificate;  // ours, and those between it and its CA behind it
  std::string key;          // its private key, without a passphrase
  std::string ca;           // certificates of the CAs that the other side's must be signed by
  // What errors call `ca`: --tls-ca, --tls-client-ca.
  std::string ca_flag = "--tls-ca";
};

// What is in them; empty where there is none.
struct TlsPems {
  std::string certificate, key, ca;
  // When the first of ours ends; WallTime::max() where there is none.
  WallTime not_after = WallTime::max();
};

// INVALID_ARGUMENT, NOT_FOUND or PERMISSION_DENIED names the flag, what is wrong and what would be right: a file that
// is not there, is no PEM or another kind of it, a key that is not the certificate's or has a passphrase, a certificate
// that is not valid at `now`. Of a key's content nothing is ever said.
absl::StatusOr<TlsPems> ReadTlsFiles(const TlsFiles& files, WallTime now);

// The same for the side that calls, which must know whose certificate to trust: a certificate without a CA is refused,
// as is a CA's absence where `secret` (a flag, or empty) would be sent.
absl::StatusOr<TlsPems> ReadCallersTlsFiles(const TlsFiles& files, const std::string& secret_flag, WallTime now);

// A certificate is held against one name, and an `address` in gRPC's words for several (ipv4:a:1,b:1) has none: what
// all their certificates have in common has to be given as `server_name`. INVALID_ARGUMENT where it is missing; OK
// without TLS.
absl::Status CheckServerName(const TlsFiles& files, std::string_view address_flag, std::string_view address,
                             std::string_view server_name);

}  // namespace mantissa::process
