// What a device reaches at best, and what a call of it costs, measured on it: the other end of every share of a peak,
// and what tells a product from its launch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"
#include "worker/studies/machine/product.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

using DevicePeaks = google::protobuf::RepeatedPtrField<v1::DevicePeak>;

// A row for each mode: the fastest copy of a large tensor, and the fastest large product in the mode. A mode that the
// device lacks has a note instead of a number. Nothing when a stop was requested.
std::optional<DevicePeaks> MeasurePeaks(const StudyEnvironment& environment,
                                        const std::vector<v1::PrecisionSpec::Mode>& modes, Control& control);

// Of each mode that the device has. Nothing when a stop was requested.
std::optional<CallSeconds> MeasureCalls(const StudyEnvironment& environment,
                                        const std::vector<v1::PrecisionSpec::Mode>& modes, Control& control);

// A product that was faster than the mode's peak is the new peak.
void RaisePeak(v1::PrecisionSpec::Mode mode, double tflops, DevicePeaks& peaks);

// Null where there is none for the mode.
const v1::DevicePeak* FindPeak(const DevicePeaks& peaks, v1::PrecisionSpec::Mode mode);

// Of a product that took `seconds`.
double TflopsOf(std::int64_t m, std::int64_t n, std::int64_t k, double seconds);

}  // namespace mantissa::trainer
