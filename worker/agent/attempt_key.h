// Which attempt: what the agent's parts call it among themselves.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "mantissa/v1/job.pb.h"

namespace mantissa::agent {

struct AttemptKey {
  std::string job_id;
  std::int32_t attempt = 0;

  auto operator<=>(const AttemptKey&) const = default;
};

inline AttemptKey KeyOf(const v1::AttemptRef& ref) { return {ref.job_id(), ref.attempt()}; }

}  // namespace mantissa::agent
