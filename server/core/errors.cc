#include "server/core/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

#include "process/utf8.h"

namespace mantissa::server {
namespace {

constexpr absl::string_view kPayload = "mantissa.dev/reason";

}  // namespace

absl::Status ErrorWithReason(absl::StatusCode code, std::string_view reason, std::string_view message) {
  absl::Status status(code, absl::string_view(message.data(), message.size()));
  status.SetPayload(kPayload, absl::Cord(absl::string_view(reason.data(), reason.size())));
  return status;
}

std::string Shortened(std::string text, size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  return process::Utf8Prefix(text, most_bytes) + " ...";
}

std::string ReasonOf(const absl::Status& status) {
  auto payload = status.GetPayload(kPayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace mantissa::server
