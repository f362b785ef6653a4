// Which report belongs to which study.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"

namespace mantissa::spec {

// Serialised.
inline constexpr std::size_t kMaxReportBytes = std::size_t{1} << 20;

// As specs name it: `precision_comparison`; `study` where none is named.
std::string_view StudyName(v1::StudySpec::KindCase kind);

// The study whose result the report holds; KIND_NOT_SET where it holds none.
v1::StudySpec::KindCase StudyOf(const v1::Report& report);

// What is wrong with a report of such a study (KIND_NOT_SET: of a job that is none), a sentence; empty when it is
// right.
std::string ReportFault(v1::StudySpec::KindCase study, const v1::Report& report);

// Whether the intervals of two speedups have nothing in common; a speedup without an interval, as FP32's own 1, is
// known.
bool AreToldApart(const v1::PrecisionRow& a, const v1::PrecisionRow& b);

}  // namespace mantissa::spec
