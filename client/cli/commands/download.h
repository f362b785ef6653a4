// mantissa download.
#pragma once

#include <chrono>
#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct DownloadOptions {
  std::string job;
  std::string name;  // empty: model.safetensors
  std::string file;  // empty: the artifact's own name, here; `-`: stdout
  bool force = false;
  std::chrono::milliseconds wait{10'000};  // for a file that a job which SUCCEEDED does not have yet
};

// Writes `FILE.<hash>.part` and renames it once its SHA-256 is right, so that FILE is whole or absent. What an
// interrupted download left is gone on from; what is damaged is thrown away and fetched once more.
int Download(const Context& context, const DownloadOptions& options);

}  // namespace mantissa::cli
