// A copy of a store, made while its server runs.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "process/clock.h"

namespace mantissa::server {

// Writes a copy of the database at `path` to `target`, whole or not at all; what is committed while it is written may
// be missing. NOT_FOUND: there is no database. ALREADY_EXISTS: `target` is there.
//
// Note [Restored stores]
//
// A server that is started on the copy must not be taken for the one that has gone on since: workers may hold attempts
// that the copy still has as live, or that it never heard of, and write into their folders. So in the copy nothing is
// live: every token is another, attempts that ran are LOST, their jobs wait (or are paused, or cancelled, where that
// was on its way), and the next attempt of each has a number that the other world does not reach. The epoch is higher,
// too.
absl::Status BackUp(const std::string& path, const std::string& target, const process::Clock& clock);

}  // namespace mantissa::server
