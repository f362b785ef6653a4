// What the host asks of the CUDA runtime, counted.
#pragma once

#include <map>
#include <string>

namespace mantissa::trainer {

// Calls of each function since the last ForgetHostCalls, of any thread. Kernels that libraries launch through the
// driver are not among them.
std::map<std::string, int> HostCalls();
void ForgetHostCalls();

}  // namespace mantissa::trainer
