// Where a watch goes on, as text that clients keep and never read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mantissa::server {

// `next_sequence` is the first entry not yet delivered, from 1.
std::string EncodeCursor(std::string_view job_id, int64_t next_sequence);

// INVALID_ARGUMENT for text that EncodeCursor did not make, or made for another job. The sequence may still be one that
// the job has not reached.
absl::StatusOr<int64_t> DecodeCursor(std::string_view cursor, std::string_view job_id);

}  // namespace mantissa::server
