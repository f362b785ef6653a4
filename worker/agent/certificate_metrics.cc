#include "worker/agent/certificate_metrics.h"

#include <chrono>

namespace mantissa::agent {

using process::WallTime;
using prometheus::MetricFamily;

namespace {

constexpr std::chrono::seconds kInterval{1};

}  // namespace

CertificateMetrics::CertificateMetrics(const process::TlsFiles& files, const process::Clock& clock)
    : clock_(clock),
      watch_(files, "new connections to the server may fail until this is put right; one that is open goes on") {
  if (files.certificate.empty() && files.ca.empty()) return;
  Look();  // it may expire before the first scrape
  thread_ = std::make_unique<process::RegularThread>([this] {
    Look();
    return kInterval;
  });
}

void CertificateMetrics::Look() {
  watch_.Look(clock_.WallNow());
  process::MutexLock lock(mutex_);
  ends_ = watch_.not_after();
}

std::vector<MetricFamily> CertificateMetrics::Collect() const {
  process::MutexLock lock(mutex_);
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
