#include "server/program/metrics_endpoint.h"

#include <exception>
#include <utility>

#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

#include "process/metrics_listener.h"

namespace mantissa::server {

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer,
                                 std::shared_ptr<prometheus::Collectable> metrics, std::string address)
    : metrics_(std::move(metrics)), address_(std::move(address)), exposer_(std::move(exposer)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const ListenAddress& listen, std::shared_ptr<prometheus::Collectable> metrics) {
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(process::MetricsListenerOptions(listen.WithPort(listen.port)));
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
