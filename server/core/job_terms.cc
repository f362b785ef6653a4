#include "server/core/job_terms.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "proto/spec/defaults.h"
#include "server/core/encoded_field.h"
#include "server/core/proto_time.h"

namespace mantissa::server {

JobTerms TermsOf(const v1::JobSpec& resolved) {
  const v1::TimeoutSpec& limits = resolved.timeouts();
  return {.priority = resolved.priority(),
          .keep_checkpoints = resolved.training().checkpoint().keep(),
          .study = resolved.study().kind_case(),
          .timeouts = {.queue = ToMilliseconds(limits.queue(), kLongestDuration),
                       .attempt = ToMilliseconds(limits.attempt(), kLongestDuration),
                       .total = ToMilliseconds(limits.total(), kLongestDuration),
                       .start = ToMilliseconds(limits.start(), spec::kDefaultStart),
                       .stall = ToMilliseconds(limits.stall(), spec::kDefaultStall)}};
}

std::string EncodeSpecs(const v1::JobSpec& spec, const v1::JobSpec& resolved) {
  std::string specs;
  AppendEncodedField(v1::Job::kSpecFieldNumber, spec, specs);
  AppendEncodedField(v1::Job::kResolvedSpecFieldNumber, resolved, specs);
  return specs;
}

v1::Job WithSpecs(const v1::Job& head, const std::string& specs) {
  v1::Job job = head;
  if (job.MergeFromString(specs)) return job;
  std::fprintf(stderr, "mantissa: the specs of job %s in memory are no specs\n", head.id().c_str());
  std::abort();
}

v1::JobSpec ResolvedSpec(const std::string& specs) {
  v1::Job job = WithSpecs({}, specs);
  return std::move(*job.mutable_resolved_spec());
}

}  // namespace mantissa::server
