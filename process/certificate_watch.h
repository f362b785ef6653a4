#pragma once

#include <string>

#include "process/clock.h"
#include "process/tls_files.h"

namespace mantissa::process {

// What becomes of the files of a certificate while a program runs, told in its log: that a new certificate is in use,
// and, once, what is wrong with a file. (gRPC reads them by itself and says nothing.) Not thread-safe.
class CertificateWatch {
 public:
  // `consequence` says in the log what a wrong file means.
  CertificateWatch(TlsFiles files, std::string consequence);

  // Reads them. The first certificate of all is not a new one.
  void Look(WallTime now);

  // When the certificate ends that was seen last and right; max() where there is none.
  WallTime not_after() const { return not_after_; }

 private:
  const TlsFiles files_;
  const std::string consequence_;
  std::string said_;   // what is wrong, as far as the log has it
  std::string shown_;  // the certificate; by its text, for two may end in the same second
  WallTime not_after_ = WallTime::max();
};

}  // namespace mantissa::process
