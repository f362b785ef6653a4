// One way in which low precision fails: what was measured in FP32, in the low precision, and with the remedy, and what
// that comes to. Pure.
#pragma once

#include <string>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"

namespace mantissa::trainer {

struct Experiment {
  v1::FailureModes::Mode mode = v1::FailureModes::MODE_UNSPECIFIED;
  v1::PrecisionSpec::Mode precision = v1::PrecisionSpec::FP16;

  std::string quantity;  // what the three numbers are, with their unit
  double reference = 0;  // in FP32
  double low = 0;
  double remedied = 0;
  // A number no farther from the reference than this is as good as it.
  double tolerance = 0;
  // Only above the reference is worse; else on either side.
  bool only_above = false;

  std::string setting;  // what was done: `A sum of 8192 numbers`
  std::string cause;    // why it fails where it does: `a number below half a step of the sum changes nothing`
  std::string remedy;   // what is done about it: `A sum that is kept in FP32`
};

// NOT_SHOWN where the low precision is as good as the reference, or the reference itself is not finite: nothing is told
// apart then. A number that is not finite is never as good.
v1::FailureModesReport::Outcome Judge(const Experiment& experiment);

// Numbers and sentences, as they came out.
v1::FailureRow RowOf(const Experiment& experiment);

// One paragraph, of rows that are complete.
std::string FailureFinding(const v1::FailureModesReport& report);

}  // namespace mantissa::trainer
