// What a recorded iteration is made of.
#pragma once

#include <string>
#include <vector>

namespace mantissa::trainer {

// The nodes of the graph that was captured last, in the order in which they were captured: a kernel's name without its
// arguments, or `memset`, `memcpy`, `other`. Empty before the first capture, or where the driver cannot say.
std::vector<std::string> NodesOfLastCapture();

}  // namespace mantissa::trainer
