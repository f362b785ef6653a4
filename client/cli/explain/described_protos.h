// The .proto files of specs and reports as a serialised FileDescriptorSet, with their comments; made when this is
// built.
#pragma once

#include <cstddef>

namespace mantissa::cli {

extern const unsigned char kDescribedProtos[];
extern const std::size_t kDescribedProtosSize;

}  // namespace mantissa::cli
