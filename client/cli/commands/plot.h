// mantissa plot: a job's loss, loss scale and grad norm as a picture.
#pragma once

#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct PlotOptions {
  std::string job;
  std::string png;                 // file; `-`: stdout; empty: draw in the terminal
  bool force = false;              // replace a file that is there
  int width = 0;                   // columns, or pixels with png; 0: the terminal's, 1280 pixels
  int height = 0;                  // lines or pixels; 0: the terminal's, 960 pixels
  std::string loss_axis = "auto";  // auto, linear, log
};

// Draws what the server has now. A job that has no records yet is said to have none; with `png` that is an error, so
// that a script never takes an old file for the answer.
int Plot(const Context& context, const PlotOptions& options);

}  // namespace mantissa::cli
