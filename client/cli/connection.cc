#include "client/cli/connection.h"

#include <charconv>
#include <future>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/channel_arguments.h>

#include "client/cli/output/display_text.h"
#include "client/cli/rpc_failure.h"

namespace mantissa::cli {
namespace {

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

bool IsPort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

bool IsLoopback(std::string_view address) {
  return StartsWith(address, "127.") || StartsWith(address, "localhost:") || StartsWith(address, "[::1]:") ||
         StartsWith(address, "unix:");
}

// A target in gRPC's own words, which may stand for more than one server.
bool NamesSeveral(std::string_view address) {
  return StartsWith(address, "ipv4:") || StartsWith(address, "ipv6:") || StartsWith(address, "dns:");
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const ChannelAccess& access) {
  grpc::ChannelArguments arguments;
  // A server that went away without a word is noticed by an open watch within 15 s.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 3'000);  // also the time a connection attempt may take
  // Of several servers one is active, and only that one says it is ready: asked all the time, so that a take-over is
  // noticed by itself.
  if (NamesSeveral(address)) {
    arguments.SetServiceConfigJSON(
        R"({"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"mantissa.v1.JobService"}})");
  }
  // A proxy in the environment is for the outside world, never for this machine.
  if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!access.server_name.empty()) arguments.SetString(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, access.server_name);
  return grpc::CreateCustomChannel(address, access.credentials, arguments);
}

}  // namespace

absl::StatusOr<std::string> ParseAddress(std::string_view text) {
  const std::string shown = absl::StrCat("\"", Clip(ForTerminal(text), 80), "\"");
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("the address ", shown, " ", std::string(why),
                                                   "; write host:port in --address or MANTISSA_ADDRESS, such as ",
                                                   std::string(kDefaultAddress)));
  };
  if (text.empty()) return bad("is empty");
  if (text.find_first_of(" \t\r\n\"'") != std::string_view::npos) return bad("has a space or a quote in it");
  if (StartsWith(text, "unix:") || NamesSeveral(text)) return std::string(text);
  if (text.find("://") != std::string_view::npos) return bad("is a URL, and the API is no web page");
  const std::size_t bracket = text.rfind(']');
  const std::size_t colon = text.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (!has_port) return absl::StrCat(std::string(text), ":50051");
  if (text[0] != '[' && text.find(':') != colon) return bad("is an IPv6 address without brackets ([::1]:50051)");
  if (colon == 0) return bad("has no host");
  if (!IsPort(text.substr(colon + 1))) return bad("has no port from 1 to 65535");
  return std::string(text);
}

Connection::Connection(std::string address, std::chrono::milliseconds rpc_timeout, const ChannelAccess& access)
    : address_(std::move(address)),
      rpc_timeout_(rpc_timeout),
      channel_(MakeChannel(address_, access)),
      jobs_(v1::JobService::NewStub(channel_)),
      admin_(v1::AdminService::NewStub(channel_)) {}

bool Connection::IsConnected() const { return channel_->GetState(false) == GRPC_CHANNEL_READY; }

bool Connection::WaitForConnected(std::chrono::milliseconds timeout) {
  return channel_->WaitForConnected(std::chrono::system_clock::now() + timeout);
}

absl::StatusOr<int> Connection::AskHealth(const std::string& service) {
  // gRPC's packages bring no stub of grpc.health.v1. Its request is one string and its answer one enum, both numbered
  // 1, and so are protobuf's wrappers: on the wire they are the same.
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(channel_);
  google::protobuf::StringValue request;
  google::protobuf::Int32Value response;
  request.set_value(service);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + rpc_timeout_);
  std::promise<grpc::Status> ended;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&ended](grpc::Status status) { ended.set_value(std::move(status)); });
  const absl::Status asked = Explained(ended.get_future().get());
  if (!asked.ok()) return asked;
  return response.value();
}

absl::Status Connection::Explained(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  return Explain(DecodeFailure(status), {.address = address_, .connected = IsConnected()});
}

}  // namespace mantissa::cli
