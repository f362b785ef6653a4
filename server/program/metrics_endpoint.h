#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "server/rpc/listen_address.h"

namespace prometheus {
class Collectable;
class Exposer;
}  // namespace prometheus

namespace mantissa::server {

// /metrics over HTTP. Thread-safe.
class MetricsEndpoint {
 public:
  // Serves when it returns. UNAVAILABLE, saying why, when the address can't be had.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const ListenAddress& listen,
                                                                std::shared_ptr<prometheus::Collectable> metrics);
  ~MetricsEndpoint();

  const std::string& address() const { return address_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::shared_ptr<prometheus::Collectable> metrics,
                  std::string address);

  const std::shared_ptr<prometheus::Collectable> metrics_;  // the exposer only holds it weakly
  const std::string address_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace mantissa::server
