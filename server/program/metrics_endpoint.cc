#include "server/program/metrics_endpoint.h"

#include <exception>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace mantissa::server {

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer,
                                 std::shared_ptr<prometheus::Collectable> metrics, std::string address)
    : metrics_(std::move(metrics)), address_(std::move(address)), exposer_(std::move(exposer)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const ListenAddress& listen, std::shared_ptr<prometheus::Collectable> metrics) {
  // One scraper at a time is enough; the library's default is a pool.
  const std::vector<std::string> options = {"listening_ports", listen.WithPort(listen.port), "num_threads", "1"};
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(options);
  } catch (const std::exception&) {  // it says no more than that it could not
    return WhyNotBound(listen);
  }
  exposer->RegisterCollectable(metrics);
  const std::vector<int> ports = exposer->GetListeningPorts();
  if (ports.empty()) return WhyNotBound(listen);
  std::string address = listen.WithPort(ports.front());
  return std::unique_ptr<MetricsEndpoint>(
      new MetricsEndpoint(std::move(exposer), std::move(metrics), std::move(address)));
}

}  // namespace mantissa::server
