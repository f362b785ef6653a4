#include "worker/agent/certificate_metrics.h"

#include <chrono>
#include <utility>

#include "absl/status/statusor.h"

namespace mantissa::agent {

using process::WallTime;
using prometheus::MetricFamily;

CertificateMetrics::CertificateMetrics(process::TlsFiles files, const process::Clock& clock)
    : files_(std::move(files)), clock_(clock) {
  Collect();  // it may expire before the first scrape
}

std::vector<MetricFamily> CertificateMetrics::Collect() const {
  if (files_.certificate.empty()) return {};
  const absl::StatusOr<process::TlsPems> pems = process::ReadTlsFiles(files_, clock_.WallNow());
  process::MutexLock lock(mutex_);
  if (pems.ok()) ends_ = pems->not_after;
  if (ends_ == WallTime::max()) return {};
  MetricFamily family;
  family.name = "mantissa_worker_certificate_expiry_timestamp_seconds";
  family.help =
      "When the TLS certificate ends that the worker shows to its server, in Unix time; absent where it shows none.";
  family.type = prometheus::MetricType::Gauge;
  family.metric.emplace_back().gauge.value = std::chrono::duration<double>(ends_.time_since_epoch()).count();
  return {family};
}

}  // namespace mantissa::agent
