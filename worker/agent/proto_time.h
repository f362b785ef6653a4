// Between the messages' durations and the standard library's.
#pragma once

#include <chrono>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/util/time_util.h"

namespace mantissa::agent {

// Of an absent, zero or negative duration: `when_absent`.
inline std::chrono::milliseconds ToMilliseconds(const google::protobuf::Duration& duration,
                                                std::chrono::milliseconds when_absent) {
  const std::chrono::milliseconds given(google::protobuf::util::TimeUtil::DurationToMilliseconds(duration));
  return given.count() > 0 ? given : when_absent;
}

}  // namespace mantissa::agent
