#pragma once

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

#include "process/clock.h"
#include "process/mutex.h"
#include "process/tls_files.h"

namespace mantissa::agent {

// When the certificate ends that the worker shows to its server; no family where it shows none. The files are read at
// every scrape, as gRPC reads them while the worker runs. A file that is wrong or has expired changes nothing: what was
// seen last is shown, so that its end stays to be seen. Thread-safe.
class CertificateMetrics final : public prometheus::Collectable {
 public:
  // `files` have been checked. The clock outlives the metrics.
  CertificateMetrics(process::TlsFiles files, const process::Clock& clock);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const process::TlsFiles files_;
  const process::Clock& clock_;
  mutable process::Mutex mutex_;
  // Of what was read last and right; max() before that.
  mutable process::WallTime ends_ ABSL_GUARDED_BY(mutex_) = process::WallTime::max();
};

}  // namespace mantissa::agent
