#include "server/rpc/status.h"

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

#include "process/log.h"
#include "server/core/errors.h"

namespace mantissa::server {
namespace {

constexpr absl::string_view kBadRequest = "mantissa.dev/bad-request";
// Long enough not to press a server in trouble, short enough not to be noticed.
constexpr int kRetrySeconds = 1;
// Together they stay below the 8 KiB of trailers that clients accept, the message counted twice.
constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxViolationBytes = 4000;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status WithBadRequest(absl::Status status, const google::rpc::BadRequest& bad) {
  status.SetPayload(kBadRequest, absl::Cord(bad.SerializeAsString()));
  return status;
}

bool WaitingHelps(absl::StatusCode code) {
  return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted;
}

bool IsOurFault(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

}  // namespace

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

absl::Status InvalidSpec(const std::vector<spec::Violation>& violations) {
  google::rpc::BadRequest bad;
  // The first fault in full and the others by name: who shows the details does not show everything twice.
  std::string message;
  for (const spec::Violation& violation : violations) {
    if (bad.ByteSizeLong() > kMaxViolationBytes) break;
    auto& field = *bad.add_field_violations();
    field.set_field(violation.field_path.empty() ? "spec" : violation.field_path);
    field.set_description(Shortened(violation.description, kMaxMessageBytes));
    if (message.empty()) {
      absl::StrAppend(&message, field.field(), ": ", field.description());
    } else {
      absl::StrAppend(&message, bad.field_violations_size() == 2 ? "; also wrong: " : ", ", field.field());
    }
  }
  const size_t left_out = violations.size() - bad.field_violations_size();
  if (left_out > 0) {
    bad.add_field_violations()->set_description(absl::StrCat("and ", left_out, " more"));
  }
  const bool unbuilt = spec::OnlyUnimplemented(violations);
  return WithBadRequest(ErrorWithReason(unbuilt ? absl::StatusCode::kUnimplemented : absl::StatusCode::kInvalidArgument,
                                        unbuilt ? "SPEC_NOT_BUILT" : "INVALID_SPEC", message),
                        bad);
}

absl::Status InvalidField(std::string_view field, std::string_view description) {
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field(std::string(field));
  bad.mutable_field_violations(0)->set_description(std::string(description));
  return WithBadRequest(ErrorWithReason(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
                                        absl::StrCat(View(field), ": ", View(description))),
                        bad);
}

absl::Status StandingBy() {
  return ErrorWithReason(absl::StatusCode::kUnavailable, "STANDBY",
                         "this server stands by for the active one; call that, or try again");
}

absl::Status ShuttingDown() {
  return ErrorWithReason(
      absl::StatusCode::kUnavailable, "SHUTTING_DOWN",
      "The server is shutting down; call again, with the same request_id or cursor, once it is back.");
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status rich;
  rich.set_code(static_cast<int>(status.code()));
  if (IsOurFault(status.code())) {
    process::Log(process::Level::kError, "a call failed inside the server", {{"error", status}});
    rich.set_message("The server failed at this call; its log says why.");
  } else {
    rich.set_message(Shortened(std::string(status.message()), kMaxMessageBytes));
  }

  google::rpc::ErrorInfo info;
  info.set_domain(std::string(kErrorDomain));
  info.set_reason(ReasonOf(status));
  if (info.reason().empty()) info.set_reason(CodeName(status.code()));
  rich.add_details()->PackFrom(info);
  if (const auto fields = status.GetPayload(kBadRequest)) {
    google::rpc::BadRequest bad;
    if (bad.ParseFromString(std::string(*fields))) rich.add_details()->PackFrom(bad);
  }
  if (WaitingHelps(status.code())) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetrySeconds);
    rich.add_details()->PackFrom(retry);
  }
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    google::rpc::PreconditionFailure failure;
    failure.add_violations()->set_type(info.reason());
    failure.mutable_violations(0)->set_description(rich.message());
    rich.add_details()->PackFrom(failure);
  }
  return {static_cast<grpc::StatusCode>(status.code()), rich.message(), rich.SerializeAsString()};
}

}  // namespace mantissa::server
