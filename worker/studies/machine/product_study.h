// What the studies of products have in common: after the peaks of the device a case for every shape and precision.
#pragma once

#include <functional>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"
#include "worker/studies/machine/device_peaks.h"
#include "worker/studies/machine/product.h"
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

// The throughput of a row that has a time, which is its mode's new peak where it is above it. False, and a note
// instead, where that time is its launch's.
template <class Row>
bool SetThroughput(const CallSeconds& calls, DevicePeaks& peaks, Row& row) {
  if (const double launch = LaunchSeconds(row.precision(), calls); row.median_seconds() < launch) {
    AddNote(LaunchNote(launch), *row.mutable_note());
    return false;
  }
  row.set_tflops(TflopsOf(row.m(), row.n(), row.k(), row.median_seconds()));
  RaisePeak(row.precision(), row.tflops(), peaks);
  return true;
}

}  // namespace mantissa::trainer
