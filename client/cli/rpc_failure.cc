#include "client/cli/rpc_failure.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

constexpr std::string_view kOurDomain = "mantissa.dev";

constexpr std::array<std::string_view, 6> kTlsWords = {"handshake",          "Handshake",   "SSL_ERROR",
                                                       "CERTIFICATE_VERIFY", "certificate", "Peer name"};

// Nobody here cancels a call and then asks how it went; gRPC does, where one reaches a server that is about to end.
bool IsTurnedAway(const RpcFailure& failure) {
  return failure.code == grpc::StatusCode::CANCELLED && failure.reason.empty();
}

absl::StatusCode CodeOf(const RpcFailure& failure, const FailureContext& context) {
  // A port that accepts connections and never speaks is as unavailable as one that refuses them.
  if (failure.code == grpc::StatusCode::DEADLINE_EXCEEDED && !context.connected) return absl::StatusCode::kUnavailable;
  if (IsWrongServer(failure) || IsTurnedAway(failure)) return absl::StatusCode::kUnavailable;
  return static_cast<absl::StatusCode>(failure.code);
}

std::string CodeName(grpc::StatusCode code) { return absl::StatusCodeToString(static_cast<absl::StatusCode>(code)); }

std::string HowToReach() {
  return "start a server with `mantissa-server`, or name another one with --address or MANTISSA_ADDRESS";
}

bool IsAboutTls(const RpcFailure& failure) {
  if (failure.code != grpc::StatusCode::UNAVAILABLE || !failure.reason.empty()) return false;
  // gRPC's and OpenSSL's words for a handshake that fails.
  return std::any_of(kTlsWords.begin(), kTlsWords.end(),
                     [&](std::string_view words) { return failure.message.find(words) != std::string::npos; });
}

std::string Headline(const RpcFailure& failure, const FailureContext& context) {
  const std::string address = ForTerminal(context.address);
  if (IsWrongServer(failure)) {
    return absl::StrCat(
        "what answers at ", address,
        " is not a Mantissa server (wrong port?), or it speaks TLS, which wants --tls-ca; the API listens on ",
        "port 50051 unless the server was told otherwise, the metrics on 9464\n  gRPC says: ",
        ForTerminal(failure.message));
  }
  if (failure.code == grpc::StatusCode::DEADLINE_EXCEEDED && !context.connected) {
    return absl::StrCat("something accepts connections at ", address,
                        " but does not answer as a Mantissa server does (wrong port, or a server that hangs); ",
                        HowToReach());
  }
  if (IsAboutTls(failure)) {
    return absl::StrCat(
        "no TLS connection to ", address, ": its certificate is not signed by what --tls-ca names, has ",
        "expired or is of another name (--tls-server-name), or it takes no certificate of yours, or it ",
        "speaks no TLS\n  gRPC says: ", ForTerminal(failure.message));
  }
  if (failure.code == grpc::StatusCode::UNAVAILABLE && failure.reason.empty()) {
    // What a server with TLS does to a caller without.
    const bool hung_up = failure.message.find("Socket closed") != std::string::npos;
    return absl::StrCat("no server answers at ", address, "; ", HowToReach(),
                        hung_up ? "; one that speaks TLS wants --tls-ca" : "",
                        "\n  gRPC says: ", ForTerminal(failure.message));
  }
  if (IsTurnedAway(failure)) {
    return absl::StrCat("the server at ", address, " was about to end and did not take the call; try again");
  }
  if (failure.code == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return absl::StrCat("the server at ", address, " did not answer in time; try again, or allow more with ",
                        "--rpc-timeout");
  }
  const std::string message = ForTerminal(failure.message);
  return message.empty() ? CodeName(failure.code) : message;
}

// One violation, where it stands in the spec's file, if that is known. Empty where that says no more than the message
// of its failure.
std::string ViolationLine(const FailureViolation& violation, const std::string& message, const SpecFile* spec) {
  const std::string text = absl::StrCat(violation.field, violation.field.empty() ? "" : ": ", violation.description,
                                        violation.reason.empty() ? "" : absl::StrCat(" [", violation.reason, "]"));
  const int line = spec != nullptr ? LineOf(spec->lines, violation.field) : 0;
  if (line == 0 && text == message) return "";
  return absl::StrCat("\n  ", line > 0 ? absl::StrCat(ForTerminal(spec->shown_name), ":", line, ": ") : "",
                      ForTerminal(text));
}

}  // namespace

RpcFailure DecodeFailure(const grpc::Status& status) {
  RpcFailure failure;
  failure.code = status.error_code();
  failure.message = status.error_message();
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) return failure;
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::PreconditionFailure precondition;
    google::rpc::RetryInfo retry;
    if (any.UnpackTo(&info)) {
      failure.reason = info.reason();
      failure.domain = info.domain();
      failure.metadata = {info.metadata().begin(), info.metadata().end()};
    } else if (any.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) {
        failure.violations.push_back({violation.field(), "", violation.description()});
      }
    } else if (any.UnpackTo(&precondition)) {
      for (const auto& violation : precondition.violations()) {
        failure.preconditions.push_back(violation.description());
      }
    } else if (any.UnpackTo(&retry)) {
      const double seconds = std::clamp(Seconds(retry.retry_delay()), 0.0, 3600.0);
      failure.retry_after = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    }
  }
  return failure;
}

bool IsWrongServer(const RpcFailure& failure) {
  const std::string_view message = failure.message;
  const auto says = [&](std::string_view words) { return message.find(words) != std::string_view::npos; };
  // gRPC's words for an HTTP/1 server, for one that speaks HTTP/2 and no gRPC, and for one that speaks neither.
  if (says("http1.x server") || says("HTTP/1.") || says("http2 header with status") || says("content-type") ||
      says("Connection closed before server preface") || says("SETTINGS frame") || says("Failed parsing HTTP/2")) {
    return true;
  }
  // A gRPC server without our service. Ours explains itself.
  return failure.code == grpc::StatusCode::UNIMPLEMENTED && failure.domain != kOurDomain;
}

bool IsTransient(const RpcFailure& failure) {
  if (IsTurnedAway(failure)) return true;
  return failure.code == grpc::StatusCode::UNAVAILABLE && !IsWrongServer(failure);
}

absl::Status Explain(const RpcFailure& failure, const FailureContext& context) {
  std::string text = Headline(failure, context);
  if (!failure.reason.empty()) absl::StrAppend(&text, " [", ForTerminal(failure.reason), "]");
  for (const FailureViolation& violation : failure.violations) {
    absl::StrAppend(&text, ViolationLine(violation, failure.message, context.spec));
  }
  for (const std::string& precondition : failure.preconditions)
    absl::StrAppend(&text, "\n  ", ForTerminal(precondition));
  if (failure.retry_after) {
    absl::StrAppend(&text, "\n  try again in ", SpanText(static_cast<double>(failure.retry_after->count()) / 1000.0));
  }
  return absl::Status(CodeOf(failure, context), text);
}

}  // namespace mantissa::cli
