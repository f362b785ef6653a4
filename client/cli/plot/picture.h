// What is drawn of a job, before it is known on what. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/cli/plot/axis.h"
#include "client/cli/plot/plot_data.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

// A point of a curve: a vertical line from `low` to `high`, which a line joins to the point before it.
struct Stroke {
  double iteration = 0;
  double low = 0;
  double high = 0;
  double last = 0;          // where the line to the next one begins
  bool joined = false;      // to the one before it
  bool superseded = false;  // trained again by what began later
};

enum class MarkKind {
  kOverflow,  // an iteration was skipped
  kNan,
  kInfinite
};

struct Mark {
  double iteration = 0;
  MarkKind kind = MarkKind::kOverflow;
};

enum class Hue { kLoss, kLossScale, kGradNorm };

// One curve over the iterations of the picture.
struct Panel {
  Hue hue = Hue::kLoss;
  std::string title;               // `loss`
  std::vector<std::string> facts;  // beside the title: `last 0.0812`
  Axis axis;
  std::vector<Stroke> strokes;
  std::vector<PlotEvaluation> evaluations;  // dots on this axis
  std::vector<Mark> marks;                  // above the curve
};

// Where an attempt or a lineage begins.
struct Boundary {
  double iteration = 0;
  std::string text;  // `attempt 2`
};

struct Picture {
  std::string name;
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  std::vector<std::string> facts;    // beside the name: `attempt 2`, `FP16`, `690 iterations`
  Axis iterations;                   // linear
  std::string across = "iteration";  // what that axis counts
  std::vector<Panel> panels;         // from the top down
  std::vector<Boundary> boundaries;
  std::vector<PlotGap> gaps;       // those whose iterations are known
  std::vector<std::string> notes;  // what the picture can't show
};

struct PictureOptions {
  // Of the loss; absent: logarithmic where it is above 0 and falls or rises far.
  std::optional<AxisKind> loss_axis;
};

// Three panels, loss, loss scale and grad norm; one that no record has a value of is left out, and a note says why.
// `data` must have a run. `job` with its resolved spec, where the server sent it.
Picture MakePicture(const v1::Job& job, const PlotData& data, const PictureOptions& options);

}  // namespace mantissa::cli
