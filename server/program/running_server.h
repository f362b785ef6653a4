#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "process/clock.h"
#include "server/program/server_options.h"

namespace mantissa::server {

// A whole server in this process, from store to sockets. Start, Drain and the destructor are for one thread.
class RunningServer {
 public:
  // Serves when it returns; on PostgreSQL it stands by then, and serves as soon as it is the active server. The status
  // says what an operator can do: the address is taken, the folder can't be written or is another server's. `clock`
  // outlives the server.
  static absl::StatusOr<std::unique_ptr<RunningServer>> Start(const ServerOptions& options,
                                                              const process::Clock& clock);
  // Drains without grace.
  ~RunningServer();

  // host:port as bound; the second is empty when metrics are not served.
  const std::string& address() const;
  const std::string& metrics_address() const;
  // Empty when health has no address of its own.
  std::string health_address() const;

  // False while it stands by.
  bool serving() const;

  // Lets calls end, then stores what was decided, then closes the store.
  void Drain(std::chrono::milliseconds grace);

 private:
  struct Parts;
  explicit RunningServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace mantissa::server
