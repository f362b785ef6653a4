// Numbers, sizes, durations and times as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace mantissa::cli {

// About `digits` significant digits: 0.0812, 14.2, 2.1e-3, NaN, Inf. Ours, not printf's, so that an exponent is short.
std::string ShortNumber(double number, int digits = 3);

// A loss scale: whole powers in full up to 2^32 (16384), beyond that with an exponent.
std::string ScaleText(double scale);

// 999, 14.2k, 3.1M.
std::string CompactCount(double count);

// 9610 -> 9,610.
std::string GroupedCount(std::int64_t count);

// 1.2 MiB, 512 B.
std::string SizeText(std::int64_t bytes);

// 0:03, 12:45, 3:07:09, 2d 4:00:00.
std::string ClockSpan(std::chrono::seconds span);

// 0.031s, 4.2s, 3m 05s, 2h 10m, 3d 4h.
std::string SpanText(double seconds);
double Seconds(const google::protobuf::Duration& duration);

// Local time. An absent time (zero) is `-`.
std::string LocalClock(const google::protobuf::Timestamp& time);     // 12:01:07
std::string LocalDateTime(const google::protobuf::Timestamp& time);  // 2026-03-01 12:01:07

// How long before `now` that was: 4s, 12m, 3h, 5d; `-` when absent.
std::string AgeText(const google::protobuf::Timestamp& time, std::chrono::system_clock::time_point now);

}  // namespace mantissa::cli
