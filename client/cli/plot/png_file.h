// A picture as a file.
#pragma once

#include <string>

#include "client/cli/console.h"
#include "client/cli/plot/picture.h"

namespace mantissa::cli {

inline constexpr int kPngWidth = 1280, kPngHeight = 960;

// Draws it and writes it there, whole or not at all; `-` is stdout. Says on stdout what was written. Returns the exit
// code. `file` was found to be free, or may be replaced (MayReplace).
int WritePng(const Console& console, const Picture& picture, const std::string& file, int width, int height);

}  // namespace mantissa::cli
