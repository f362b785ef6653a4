// What the studies of products have in common: after the peaks of the device a case for every shape and precision.
#pragma once

#include <functional>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"
#include "worker/studies/machine/device_peaks.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

inline constexpr int kDefaultRounds = 30;

struct ProductCases {
  std::vector<v1::MatrixShape> shapes;
  std::vector<v1::PrecisionSpec::Mode> modes;
};

// Adds the rows of one product; false when a stop was requested, and none is added then.
using AddProduct = std::function<bool(const v1::MatrixShape& shape, v1::PrecisionSpec::Mode mode)>;

// Measures `peaks` and what a call costs, then does every product and says how far it is. Where a stop was requested
// the report is partial and says after how many products. Leaves the process as FP32 has it. Returns what a call costs.
CallSeconds RunProducts(const ProductCases& cases, const AddProduct& add, const StudyEnvironment& environment,
                        StudyObserver& observer, DevicePeaks& peaks, v1::Report& report);

}  // namespace mantissa::trainer
