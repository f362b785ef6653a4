// The picture of all jobs, devices and the queue, as text: pure functions from a state to lines.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/cli/top/top_model.h"
#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {

// One string a line, without line feeds:
//
//   mantissa 127.0.0.1:50051   1 running, 1 queued   12 ended in the last minute   12:01:07
//
//   WORKER  DEVICE    MODEL                    MEMORY  STATE        RUNS
//   gpu-1   2 × cuda  NVIDIA H100 80GB HBM3  80.0 GiB  1 of 2 busy  digits-fp16
//
//   RUNNING      STATE   ITERATION                LOSS  SCALE  SKIPPED  LEFT
//   digits-fp16  STABLE    412/690  ━━━━━╸────  0.0812  16384    0.5 %  0:28
//
//   WAITING   ID          STATE   SINCE  WHY
//   gpt-text  01jdgts300  QUEUED     3m  waits for a free device: every one that fits is taken
//
//   ENDED        ID          STATE        WHEN  RESULT
//   digits-fp16  01jdgts0a0  SUCCEEDED  2m ago  eval accuracy 0.958, loss 0.0312
//
// What does not fit the width is left out, the least important first; where there are more rows than `height` lines
// (0: no limit) take, running jobs have most of them. `notice` is a line about the connection.
std::vector<std::string> RenderTop(const TopState& state, const ViewOptions& options, int height = 0,
                                   const std::optional<std::string>& notice = std::nullopt);
}  // namespace mantissa::cli
