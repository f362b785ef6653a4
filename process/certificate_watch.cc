#include "process/certificate_watch.h"

#include <utility>

#include "absl/status/statusor.h"

#include "process/log.h"

namespace mantissa::process {

CertificateWatch::CertificateWatch(TlsFiles files, std::string consequence)
    : files_(std::move(files)), consequence_(std::move(consequence)) {}

void CertificateWatch::Look(WallTime now) {
  const absl::StatusOr<TlsPems> pems = ReadTlsFiles(files_, now);
  const std::string problem(pems.status().message());
  if (std::exchange(said_, problem) != problem && !pems.ok()) {
    Log(Level::kError, problem, {{"consequence", consequence_}});
  }
  if (!pems.ok() || pems->certificate == shown_) return;
  if (!shown_.empty()) Log(Level::kInfo, "a new TLS certificate is in use");
  shown_ = pems->certificate;
  not_after_ = pems->not_after;
}

}  // namespace mantissa::process
