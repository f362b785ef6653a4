// Numbers as reports say them. Pure.
#pragma once

#include <string>

namespace mantissa::trainer {

// `0 %`, `12.3 %`, `0.04 %`: three digits, and never 0 for a share that is not.
std::string PercentText(double share);

// `2^14` for a power of two, else `1000`.
std::string ScaleText(double loss_scale);

// `36.2 us`, `1.18 ms`, `2 s`: three digits, in the unit that suits them.
std::string TimeText(double seconds);

// `1 run`, `2 runs`.
std::string CountText(long count, const std::string& what);

}  // namespace mantissa::trainer
