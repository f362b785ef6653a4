// The IDX format of the MNIST files, here with unsigned bytes only.
//
// A file is: 00 00, the type (08: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
// number, then the elements, last dimension fastest. Example, two labels 7 and 2:
//   00 00 08 01  00 00 00 02  07 02
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mantissa::trainer {

struct IdxArray {
  std::vector<std::int64_t> sizes;  // 1 to 4, none is 0
  std::string_view elements;        // into the file's bytes
};

// INVALID_ARGUMENT says what is wrong with the file and what would be right; naming it is the caller's. Any bytes may
// be given.
absl::StatusOr<IdxArray> ParseIdx(std::string_view bytes);

}  // namespace mantissa::trainer
