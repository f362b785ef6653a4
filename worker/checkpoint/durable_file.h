// One file written so that after a crash it is there whole, or not at all under its name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/file_descriptor.h"

namespace mantissa::trainer {

struct WrittenFile {
  std::int64_t size_bytes = 0;
  std::string sha256;  // lower-case hex
};

// Writes the pieces one after another to a new temporary file in `folder`, syncs and closes it, and renames it to
// `name`. The caller makes the name durable with SyncFolder. On error nothing is left under `name` that was not there
// before, and the temporary file is removed; a file whose fsync failed is never tried again (its pages may be lost and
// look clean), so the caller starts anew from memory. RESOURCE_EXHAUSTED: the disk is full; UNAVAILABLE: an I/O error.
absl::StatusOr<WrittenFile> WriteDurably(const process::FileDescriptor& folder, const std::string& name,
                                         std::span<const std::string_view> pieces);

absl::Status SyncFolder(const process::FileDescriptor& folder);

}  // namespace mantissa::trainer
