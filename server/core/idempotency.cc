#include "server/core/idempotency.h"

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

#include "server/core/errors.h"

namespace mantissa::server {

std::string RequestText(const google::protobuf::Message& message) {
  std::string text;
  {
    google::protobuf::io::StringOutputStream stream(&text);
    google::protobuf::io::CodedOutputStream coded(&stream);
    // Fields in order of number and maps sorted: what one server writes, it writes the same way again.
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return text;
}

absl::Status CheckSameRequest(const IdempotencyWrite& known, const std::string& request) {
  if (known.request == request) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, kRequestIdReused,
                         absl::StrCat("request_id: \"", known.request_id,
                                      "\" was used for another request in the last 24 hours; use a new one"));
}

}  // namespace mantissa::server
