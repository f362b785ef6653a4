// mantissa bundle.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct BundleOptions {
  std::string job;
  std::int32_t attempt = 0;  // 0: the newest that has one
  std::string folder;        // empty: `<name of the job>-bundle`, here
  bool force = false;
  std::chrono::milliseconds wait{10'000};  // for files that the worker has not handed in yet
};

// Fetches the skipped iteration that an attempt kept, file by file, each whole or absent, the manifest last, and prints
// the one command that replays it.
int Bundle(const Context& context, const BundleOptions& options);

}  // namespace mantissa::cli
