// What the scheduler has in memory of a job's specs: the few terms that it decides by, and the whole as bytes. Specs as
// messages are some sixty allocations a job, and a queue may hold a million jobs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "mantissa/v1/job.pb.h"

namespace mantissa::server {

// kLongestDuration: no limit.
struct JobTimeouts {
  std::chrono::milliseconds queue;
  std::chrono::milliseconds attempt;
  std::chrono::milliseconds total;
  std::chrono::milliseconds start;
  std::chrono::milliseconds stall;
};

struct JobTerms {
  int32_t priority = 0;
  int32_t keep_checkpoints = 0;
  v1::StudySpec::KindCase study = v1::StudySpec::KIND_NOT_SET;  // none: it trains
  JobTimeouts timeouts{};
};

// `resolved` has every default.
JobTerms TermsOf(const v1::JobSpec& resolved);

// A Job with its two specs and nothing else, serialised; made without copying them.
std::string EncodeSpecs(const v1::JobSpec& spec, const v1::JobSpec& resolved);

// `head` with the specs that EncodeSpecs made.
v1::Job WithSpecs(const v1::Job& head, const std::string& specs);

// The resolved spec alone.
v1::JobSpec ResolvedSpec(const std::string& specs);

}  // namespace mantissa::server
