// The way to one server.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "client/cli/channel_access.h"
#include "mantissa/v1/admin_service.grpc.pb.h"
#include "mantissa/v1/job_service.grpc.pb.h"

namespace mantissa::cli {

inline constexpr std::string_view kDefaultAddress = "127.0.0.1:50051";

// `host:port`, `[v6]:port`, `unix:/path`, or a host alone, which gets the default port; or `ipv4:a:port,b:port`, an
// active server and those that stand by. INVALID_ARGUMENT for a URL, a port that is none, or nothing.
absl::StatusOr<std::string> ParseAddress(std::string_view text);

// Connects on the first call. Thread-safe.
class Connection {
 public:
  // `address` is what ParseAddress returned; `rpc_timeout` bounds each unary call.
  Connection(std::string address, std::chrono::milliseconds rpc_timeout, const ChannelAccess& access = PlainText());

  v1::JobService::Stub& jobs() { return *jobs_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  const std::string& address() const { return address_; }
  std::chrono::milliseconds rpc_timeout() const { return rpc_timeout_; }

  // A server has spoken HTTP/2 with us.
  bool IsConnected() const;
  bool WaitForConnected(std::chrono::milliseconds timeout);

  // Runs one unary call under the deadline: `call` is a stub's method.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub& stub, grpc::Status (Stub::*call)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + rpc_timeout_);
    return (stub.*call)(&context, request, &response);
  }

  // The same, with the error made readable (see Explain).
  template <typename Stub, typename Request, typename Response>
  absl::Status Ask(Stub& stub, grpc::Status (Stub::*call)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response& response) {
    return Explained(Call(stub, call, request, response));
  }

  absl::Status Explained(const grpc::Status& status) const;

  // What grpc.health.v1.Health/Check says of a service, as its ServingStatus; "" is the process itself.
  absl::StatusOr<int> AskHealth(const std::string& service);

 private:
  const std::string address_;
  const std::chrono::milliseconds rpc_timeout_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace mantissa::cli
