#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "process/clock.h"
#include "process/mutex.h"
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
  ~CredentialWatch();

 private:
  void Run();
  void Look();
  // Once for each thing there is to say.
  void SayOnce(const std::string& problem, std::string& said, const char* consequence) const;

  const process::TlsFiles files_;
  const std::shared_ptr<TokenTable> tokens_;
  const process::Clock& clock_;
  ServerMetrics& metrics_;
  // The looking thread's alone. (A certificate is told from another by its text: two may end in the same second.)
  std::string said_of_tls_, said_of_tokens_, shown_certificate_;

  process::Mutex mutex_;
  process::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mantissa::server
