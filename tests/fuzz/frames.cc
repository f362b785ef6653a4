// What the other end of an agent's or trainer's socket sends: cut into frames alike however it arrives, and each frame
// a message or refused.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/frame.h"
#include "tests/fuzz/hang_guard.h"

namespace mantissa::fuzz {
namespace {

struct Cut {
  std::vector<std::string> frames;
  absl::Status error;
};

Cut CutInPieces(std::string_view bytes, std::size_t piece) {
  Cut cut;
  process::FrameBuffer buffer;
  for (std::size_t at = 0; at < bytes.size() && cut.error.ok(); at += piece) {
    cut.error = buffer.Append(bytes.substr(at, piece));
    while (cut.error.ok()) {
      absl::StatusOr<std::optional<std::string>> next = buffer.Next();
      cut.error = next.status();
      if (!next.ok() || !next->has_value()) break;
      cut.frames.push_back(**std::move(next));
    }
  }
  if (cut.error.ok()) cut.error = buffer.EndOfStream();
  return cut;
}

}  // namespace
}  // namespace mantissa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const fuzz::Cut whole = fuzz::CutInPieces(bytes, std::max<std::size_t>(size, 1));
  const fuzz::Cut single = fuzz::CutInPieces(bytes, 1);
  fuzz::Require(!whole.error.ok() && whole.error.code() == single.error.code(), "every stream ends, and ends alike");
  fuzz::Require(whole.frames == single.frames, "frames do not depend on how bytes arrive");
  for (const std::string& frame : whole.frames) {
    fuzz::Require(frame.size() <= process::kMaxFrameBytes, "no frame is over the limit");
    v1::TrainerReport report;
    v1::TrainerCommand command;
    if (report.ParseFromString(frame)) report.SerializeAsString();
    if (command.ParseFromString(frame)) command.SerializeAsString();
  }
  return 0;
}
