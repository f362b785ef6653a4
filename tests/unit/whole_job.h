// A job with its specs, as the tests of what is stored have it.
#pragma once

#include <string>
#include <utility>

#include "server/core/changes.h"
#include "server/core/job_terms.h"

namespace mantissa::server {

// Job and specs in one, of a job that is new; of others the head alone.
inline void PutWhole(Changes& changes, v1::Job job, std::string expected_etag, JobTimes times) {
  std::string specs = EncodeSpecs(job.spec(), job.resolved_spec());
  const bool is_new = expected_etag.empty();
  job.clear_spec();
  job.clear_resolved_spec();
  changes.PutJob(job, std::move(expected_etag), times);
  if (is_new) changes.PutSpecs(job.id(), std::move(specs));
}

}  // namespace mantissa::server
