// What the runs of a precision comparison say: rows, verdicts, and which precision to train in. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::trainer {

// One run of one precision.
struct ComparedRun {
  std::uint64_t seed = 0;
  std::vector<double> seconds;       // of the iterations that are timed
  std::vector<double> last_quarter;  // losses; of runs that ended well, those of the same iterations
  std::int64_t iterations = 0;
  std::int64_t skipped = 0;
  std::optional<double> eval_loss = std::nullopt;
  std::string failure = {};  // how its precision failed; empty: it has not
};

struct ComparedPrecision {
  v1::PrecisionSpec::Mode mode = v1::PrecisionSpec::FP32;
  std::string unsupported = {};        // why the device cannot; it has no runs then
  std::string failure = {};            // why none of its runs could be made; it has no runs then
  std::string note = {};               // of the row
  std::vector<ComparedRun> runs = {};  // in the order of seeds, the same ones for all that have runs
};

// Distances and noise are the means of |difference| of two losses of the same iteration. Windows differ from seed to
// seed, which widens the noise, so a second measure must agree: the difference of mean losses, over seeds, against what
// those of FP32's seeds are from each other. `samples`: in an iteration.
//
// The fastest of those that train as FP32 does is recommended; but FP16, which needs a loss scale for want of range,
// only where its speed can be told from that of every other: where their 95 % intervals do not overlap.
//
// Fills in precisions, recommended and reasons; the rows' memory is the caller's. FP32 is the first.
void Compare(const std::vector<ComparedPrecision>& precisions, std::int64_t samples,
             v1::PrecisionComparisonReport& report);

// One paragraph, from the rows.
std::string ComparisonFinding(const v1::PrecisionComparisonReport& report, std::int64_t seeds);

}  // namespace mantissa::trainer
