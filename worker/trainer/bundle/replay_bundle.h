// mantissa-trainer --replay: runs the iteration of a bundle once more and says where it stops being finite. Needs
// neither agent nor data.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include <c10/core/Device.h>

#include "mantissa/v1/telemetry.pb.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::trainer {

// Where to replay it.
struct ReplayPlace {
  c10::Device device = c10::kCPU;
  std::string device_name = "cpu";
  std::vector<v1::PrecisionSpec::Mode> precisions = {};  // that the device has arithmetic for; empty: all
  int threads = 1;                                       // that may be used
};

struct ReplayedBundle {
  v1::OverflowEvent recorded;  // as the attempt told it
  // What was found now: cause and location, and the loss scale it ran with.
  v1::OverflowEvent found;
  // Found something, in the place that was recorded, where one was.
  bool reproduced = false;
  std::vector<std::string> notes;  // what is not as it was, one line each
  std::string job_id;
  std::int64_t iteration = 0;
};

// INVALID_ARGUMENT or DATA_LOSS says which file is not what it should be; PRECISION_UNSUPPORTED as an attempt would.
// What LibTorch throws goes through.
absl::StatusOr<ReplayedBundle> ReplayBundle(const std::string& folder, const ReplayPlace& place);

// For people, several lines.
std::string ReplayText(const ReplayedBundle& replayed);

}  // namespace mantissa::trainer
