#include "server/core/changes.h"

namespace mantissa::server {

void Changes::PutJob(const v1::Job& head, std::string expected_etag, JobTimes times) {
  auto [at, is_new] = job_index.try_emplace(head.id(), jobs.size());
  if (is_new) jobs.emplace_back().expected_etag = std::move(expected_etag);
  JobWrite& write = jobs[at->second];
  write.job = head;
  write.job.clear_queue_position();
  write.times = times;
}

void Changes::PutSpecs(const std::string& job_id, std::string specs) { FindJob(job_id)->specs = std::move(specs); }

JobWrite* Changes::FindJob(const std::string& job_id) {
  const auto at = job_index.find(job_id);
  return at == job_index.end() ? nullptr : &jobs[at->second];
}

}  // namespace mantissa::server
