#include "server/rpc/page_token.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

#include "server/core/errors.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

// Another layout gets another number, so that a token kept over an upgrade is refused, never misread.
constexpr std::string_view kVersion = "p1.";

// FNV-1a, 64 bits: tells queries apart, and text that was cut or edited; it is no secret. Map fields are put in order,
// so that one query has one text.
uint64_t Hash(std::string_view place, const google::protobuf::Message& query) {
  std::string text;
  {
    google::protobuf::io::StringOutputStream stream(&text);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    query.SerializeToCodedStream(&out);
  }
  text += '\0';
  text += place;
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

}  // namespace

std::string EncodePageToken(std::string_view after, const google::protobuf::Message& query) {
  return std::string(kVersion) + std::string(after) + absl::StrFormat(".%016x", Hash(after, query));
}

absl::StatusOr<std::string> DecodePageToken(std::string_view token, const google::protobuf::Message& query) {
  if (token.empty()) return std::string();
  const size_t end = token.rfind('.');
  if (token.starts_with(kVersion) && end >= kVersion.size()) {
    const std::string_view after = token.substr(kVersion.size(), end - kVersion.size());
    if (!after.empty() && EncodePageToken(after, query) == token) return std::string(after);
  }
  return InvalidField("page_token",
                      "is not one that this query returned; pass next_page_token as it came, with the other fields as "
                      "they were, or leave it out to start again");
}

absl::StatusOr<int32_t> PageSize(int32_t page_size, int32_t by_default, int32_t most) {
  if (page_size < 0)
    return InvalidField("page_size", absl::StrFormat("must be 1 to %d, or 0 for %d", most, by_default));
  return page_size == 0 ? by_default : std::min(page_size, most);
}

}  // namespace mantissa::server
