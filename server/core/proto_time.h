// Between the messages' durations and instants and the standard library's.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace mantissa::server {

// Longer than any run; far enough from the end of a 64-bit nanosecond clock that adding it to `now` is safe.
inline constexpr std::chrono::milliseconds kLongestDuration = std::chrono::hours(24 * 365 * 20);

// Of an absent or zero duration: `when_unset`. Clamped to [0, kLongestDuration].
inline std::chrono::milliseconds ToMilliseconds(const google::protobuf::Duration& duration,
                                                std::chrono::milliseconds when_unset) {
  if (duration.seconds() == 0 && duration.nanos() == 0) return when_unset;
  const int64_t seconds = std::clamp<int64_t>(duration.seconds(), 0, kLongestDuration.count() / 1000);
  return std::clamp(std::chrono::milliseconds(seconds * 1000 + duration.nanos() / 1'000'000),
                    std::chrono::milliseconds(0), kLongestDuration);
}

inline void Set(google::protobuf::Duration* out, std::chrono::milliseconds value) {
  out->set_seconds(value.count() / 1000);
  out->set_nanos(static_cast<int32_t>(value.count() % 1000 * 1'000'000));
}

inline void Set(google::protobuf::Timestamp* out, std::chrono::system_clock::time_point value) {
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(value.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  out->set_seconds(seconds.count());
  out->set_nanos(static_cast<int32_t>((since - seconds).count()));
}

// Since 1970. As stores keep and compare instants: what is finer is cut off.
inline int64_t ToMicros(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1'000'000 + time.nanos() / 1'000;
}

}  // namespace mantissa::server
