#include "server/core/retry_policy.h"

#include <algorithm>

#include "server/core/proto_time.h"

namespace mantissa::server {

using std::chrono::milliseconds;

bool IsRetried(const v1::RetryPolicy& policy, v1::Reason::Code reason) {
  const auto names = [reason](const auto& reasons) {
    return std::find(reasons.begin(), reasons.end(), reason) != reasons.end();
  };
  if (IsFree(reason) || names(policy.retry_on())) return true;
  if (names(policy.never_on())) return false;
  switch (reason) {
    case v1::Reason::NODE_LOST:
    case v1::Reason::OOM_KILLED:
    case v1::Reason::KILLED:
    case v1::Reason::CRASHED:
    case v1::Reason::STALLED:
    case v1::Reason::START_TIMEOUT:
    case v1::Reason::TRAINER_LOST:
      return true;
    default:
      return false;
  }
}

bool IsFree(v1::Reason::Code reason) {
  switch (reason) {
    case v1::Reason::WORKER_STOPPED:
    case v1::Reason::PREEMPTED:
    case v1::Reason::PAUSED_BY_USER:
    case v1::Reason::REQUEUED:
    case v1::Reason::ROLLED_BACK:
    case v1::Reason::FELL_BACK:
      return true;
    default:
      return false;
  }
}

RetryDecision DecideRetry(const v1::RetryPolicy& policy, v1::Reason::Code reason, int32_t counted, uint64_t seed) {
  if (!IsRetried(policy, reason)) return {RetryDecision::Next::kFinal, {}};
  if (IsFree(reason)) return {RetryDecision::Next::kRequeue, {}};
  const int32_t budget = policy.has_max_attempts() ? policy.max_attempts() : 4;
  if (counted >= budget) return {RetryDecision::Next::kExhausted, {}};

  // Zero is a wait like any other, unlike an absent one.
  const milliseconds initial =
      policy.has_initial_backoff() ? ToMilliseconds(policy.initial_backoff(), milliseconds(0)) : milliseconds(1'000);
  const milliseconds longest =
      policy.has_max_backoff() ? ToMilliseconds(policy.max_backoff(), milliseconds(0)) : milliseconds(60'000);
  milliseconds wait = std::min(initial, longest);
  for (int32_t i = 1; i < counted && wait < longest && wait.count() > 0; ++i) wait = std::min(wait * 2, longest);
  // 0.8 to 1.2 of it, in steps of a thousandth.
  const auto thousandths = static_cast<int64_t>(800 + seed % 401);
  return {RetryDecision::Next::kBackOff,
          milliseconds(wait.count() / 1000 * thousandths + wait.count() % 1000 * thousandths / 1000)};
}

uint64_t BackoffSeed(std::string_view job_id, int32_t attempt) {
  // FNV-1a, then a mix so that neighbouring attempts differ in the low bits.
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : job_id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  hash = (hash ^ static_cast<uint64_t>(attempt)) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 32);
}

}  // namespace mantissa::server
