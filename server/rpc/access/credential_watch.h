#pragma once

#include <memory>
#include <string>

#include "process/certificate_watch.h"
#include "process/clock.h"
#include "process/regular_thread.h"
#include "process/tls_files.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/token_table.h"

namespace mantissa::server {

// Looks at the files of certificates and tokens while the server runs: takes in new tokens, shows when the certificate
// ends, and says in the log what is wrong with a file, once. What is wrong is not taken in: the tokens stay as they
// were. (Certificates are read by gRPC itself, which refuses new connections while a pair does not match.)
//
// Has a thread of its own. Thread-safe.
class CredentialWatch {
 public:
  // `tokens` may be null. The clock and the metrics outlive it.
  CredentialWatch(process::TlsFiles files, std::shared_ptr<TokenTable> tokens, const process::Clock& clock,
                  ServerMetrics& metrics);

 private:
  void LookAtCertificate();
  void LookAtTokens();

  const std::shared_ptr<TokenTable> tokens_;
  const process::Clock& clock_;
  ServerMetrics& metrics_;
  // The looking thread's alone, from when there is one.
  process::CertificateWatch certificate_;
  std::string said_of_tokens_;
  std::unique_ptr<process::RegularThread> thread_;  // last: it uses all of the above
};

}  // namespace mantissa::server
