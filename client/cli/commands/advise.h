// mantissa advise: the playbook's six rules answered for one training, on one device.
#pragma once

#include <chrono>
#include <cstdint>

#include "client/cli/commands/context.h"
#include "client/cli/spec/spec_file.h"

namespace mantissa::cli {

struct AdviseOptions {
  SpecSource source;
  std::int32_t iterations = 100;  // of each run of a study
  std::int32_t seeds = 3;         // of each precision that is compared
  // How long a server that went away is waited for.
  std::chrono::milliseconds retry_for = std::chrono::minutes(10);
};

// Submits the studies that fit the spec's training, waits for all of them, and prints what follows. Ctrl-C cancels
// those that have not ended. Exit code: 0, or 3 where not one study has a report.
int Advise(const Context& context, const AdviseOptions& options);

}  // namespace mantissa::cli
