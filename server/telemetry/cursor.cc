#include "server/telemetry/cursor.h"

#include <charconv>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "server/core/errors.h"

namespace mantissa::server {
namespace {

// A later layout gets another letter, so that a cursor kept over an upgrade is understood or refused, never misread.
constexpr std::string_view kVersion = "c1.";

// FNV-1a: tells text that was cut or edited from text that was made here; it is no secret.
uint32_t Checksum(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

absl::Status NotACursor() {
  return ErrorWithReason(
      absl::StatusCode::kInvalidArgument, "CURSOR_INVALID",
      "cursor: is not one that a watch of this job returned; pass a next_cursor as it came, or leave "
      "it out to start from the beginning");
}

}  // namespace

std::string EncodeCursor(std::string_view job_id, int64_t next_sequence) {
  std::string text = absl::StrCat(absl::string_view(kVersion.data(), kVersion.size()),
                                  absl::string_view(job_id.data(), job_id.size()), ".", next_sequence);
  absl::StrAppendFormat(&text, ".%08x", Checksum(text));
  return text;
}

absl::StatusOr<int64_t> DecodeCursor(std::string_view cursor, std::string_view job_id) {
  if (!cursor.starts_with(kVersion) || !cursor.substr(kVersion.size()).starts_with(job_id)) return NotACursor();
  const std::string_view digits = cursor.substr(kVersion.size() + job_id.size());
  int64_t next_sequence = 0;
  if (digits.size() < 2 || digits.front() != '.') return NotACursor();
  if (std::from_chars(digits.data() + 1, digits.data() + digits.size(), next_sequence).ec != std::errc()) {
    return NotACursor();
  }
  // Only one text stands for a place: whatever else parsed on the way is refused here.
  if (next_sequence < 1 || EncodeCursor(job_id, next_sequence) != cursor) return NotACursor();
  return next_sequence;
}

}  // namespace mantissa::server
