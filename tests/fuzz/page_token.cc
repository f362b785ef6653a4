// Texts that clients keep for us, page tokens and cursors: what is taken is what was given out.
#include "server/rpc/page_token.h"

#include <string>
#include <string_view>

#include "mantissa/v1/job_service.pb.h"
#include "server/telemetry/cursor.h"
#include "tests/fuzz/hang_guard.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  v1::ListJobsRequest query;
  if (const auto place = server::DecodePageToken(text, query); place.ok()) {
    fuzz::Require(text.empty() || server::EncodePageToken(*place, query) == text, "a page token is one that was made");
  }
  constexpr std::string_view kJob = "01arz3ndektsv4rrffq69g5fav";
  if (const auto sequence = server::DecodeCursor(text, kJob); sequence.ok()) {
    fuzz::Require(server::EncodeCursor(kJob, *sequence) == text, "a cursor is one that was made");
  }
  const std::string token = server::EncodePageToken(text, query);
  const auto back = server::DecodePageToken(token, query);
  fuzz::Require(text.empty() || (back.ok() && *back == text), "what was made is taken");
  return 0;
}
