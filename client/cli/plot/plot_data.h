// What of a job's history is drawn. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// A value over the records that a point stands for: one record, or those of a thinned row.
struct Reach {
  // Of the last record, and the ends of all; absent where there is no finite value.
  std::optional<double> last;
  std::optional<double> low;
  std::optional<double> high;
  // Some record's value was no finite number.
  bool nan = false;
  bool infinite = false;
};

struct PlotPoint {
  double iteration = 0;
  Reach loss;
  Reach loss_scale;
  Reach grad_norm;
  std::int64_t records = 1;
  std::int64_t skipped = 0;
};

// Points of one attempt in one lineage, in order, without a hole between them.
struct PlotRun {
  std::int32_t attempt = 0;
  std::int64_t lineage = 1;
  std::vector<PlotPoint> points = {};  // never empty
  // The first iteration of an attempt or lineage that began later, which trained these iterations again; infinity when
  // none did.
  double superseded_from = 0;
};

struct PlotEvaluation {
  double iteration = 0;
  double loss = 0;
};

// Records that will never come. Iterations are 0 where they are not known.
struct PlotGap {
  std::int32_t attempt = 0;
  double first_iteration = 0;
  double last_iteration = 0;
  std::int64_t records = 0;
};

struct PlotData {
  std::vector<PlotRun> runs;
  std::vector<PlotEvaluation> evaluations;
  std::vector<PlotGap> gaps;
  std::int64_t records = 0;
  std::int64_t skipped = 0;
};

// Collects what the server sends, in its order. Not thread-safe.
class PlotReader {
 public:
  // Records, thinned or not, or a gap; anything else is ignored.
  void Add(const v1::Segment& segment);
  // An evaluation; other events are ignored.
  void AddEvent(const v1::JobEvent& event);

  PlotData Take();

 private:
  void AddGap(const v1::Segment& segment);

  PlotData data_;
  bool hole_ = false;  // what comes next does not follow the point before it
};

}  // namespace mantissa::cli
