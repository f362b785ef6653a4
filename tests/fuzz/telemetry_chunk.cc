// A row of stored telemetry, which a disk may have damaged: it is read, or refused with nothing read of it. Tried as it
// is, and compressed into a row with a good checksum, so that what lies behind that is reached.
#include "server/store/telemetry_chunk.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/store/packed_bytes.h"
#include "tests/fuzz/hang_guard.h"

namespace mantissa::fuzz {
namespace {

void Try(std::string_view chunk) {
  std::vector<v1::Segment> segments;
  if (server::DecodeTelemetryChunk(chunk, segments).ok()) {
    for (const v1::Segment& segment : segments) {
      Require(!segment.has_records() || segment.count() <= 256, "segments are short");
    }
    return;
  }
  Require(segments.empty(), "nothing is read of what is refused");
}

}  // namespace
}  // namespace mantissa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  fuzz::Try(bytes);
  const std::string packed = server::Compress(bytes);
  for (const server::ChunkContent content : {server::ChunkContent::kWhole, server::ChunkContent::kThinned}) {
    fuzz::Try(std::string{'\0', static_cast<char>(content)} + packed);
  }
  return 0;
}
