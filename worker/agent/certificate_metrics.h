#pragma once

#include <memory>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

#include "process/certificate_watch.h"
#include "process/clock.h"
#include "process/mutex.h"
#include "process/regular_thread.h"
#include "process/tls_files.h"

namespace mantissa::agent {

// When the certificate ends that the worker shows to its server; no family where it shows none. The files are looked at
// while the worker runs, as gRPC looks at them, and the log says what is wrong with one. A file that is wrong or has
// expired changes nothing here: what was seen last is shown, so that its end stays to be seen.
//
// Has a thread of its own where there is a file. Thread-safe.
class CertificateMetrics final : public prometheus::Collectable {
 public:
  // `files` have been checked. The clock outlives the metrics.
  CertificateMetrics(const process::TlsFiles& files, const process::Clock& clock);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void Look();

  const process::Clock& clock_;
  process::CertificateWatch watch_;  // the looking thread's alone, from when there is one
  mutable process::Mutex mutex_;
  process::WallTime ends_ ABSL_GUARDED_BY(mutex_) = process::WallTime::max();
  std::unique_ptr<process::RegularThread> thread_;  // last: it uses all of the above
};

}  // namespace mantissa::agent
