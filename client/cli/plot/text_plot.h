// A picture as lines of a terminal. Pure.
#pragma once

#include <string>
#include <vector>

#include "client/cli/plot/picture.h"
#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {

inline constexpr int kLeastPlotWidth = 40;
inline constexpr int kLeastPlotHeight = 16;

// One string a line, without line feeds, at most `options.width` columns and about `height` lines:
//
//   digits-fp16   SUCCEEDED   attempt 1   FP16   690 records
//   loss   last 0.0812   lowest 0.0731   highest 2.31   log axis
//     2 ┤⠑⢄
//     1 ┤  ⠉⠢⡀
//   0.1 ┤     ⠉⠒⠤⠤⠤⠤
//   loss scale   last 16384   ▼ 2 iterations skipped (0.29 %)
//          ▼
//   65536 ┤⡇
//   16384 ┤⠉⠉⠉⠉⠉⠉⠉
//         └┬──────┬─────
//          1     345
//
// ▼ is above iterations that were skipped, N and I above those whose value is NaN or Inf, ● an evaluation. What was
// trained again later is dim, a dashed line stands where an attempt or lineage begins, and the lower edge is dotted
// where records are missing. A picture that is narrower or lower than the least is drawn at the least.
std::vector<std::string> RenderPlot(const Picture& picture, const ViewOptions& options, int height);

}  // namespace mantissa::cli
