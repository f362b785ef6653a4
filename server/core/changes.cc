#include "server/core/changes.h"

namespace mantissa::server {
namespace {

// Holds a job's specs as long as it lives, so that the rest can be copied without them.
class SpecsAside {
 public:
  explicit SpecsAside(v1::Job& job) : job_(job) {
    if (job.has_spec()) specs_.set_allocated_spec(job.release_spec());
    if (job.has_resolved_spec()) specs_.set_allocated_resolved_spec(job.release_resolved_spec());
  }
  ~SpecsAside() {
    if (specs_.has_spec()) job_.set_allocated_spec(specs_.release_spec());
    if (specs_.has_resolved_spec()) job_.set_allocated_resolved_spec(specs_.release_resolved_spec());
  }
  SpecsAside(const SpecsAside&) = delete;
  SpecsAside& operator=(const SpecsAside&) = delete;

  std::string Serialized() const { return specs_.SerializeAsString(); }

 private:
  v1::Job& job_;
  v1::Job specs_;
};

}  // namespace

void Changes::PutJob(v1::Job& job, std::string expected_etag, JobTimes times) {
  auto [at, is_new] = job_index.try_emplace(job.id(), jobs.size());
  const SpecsAside specs(job);
  if (is_new) {
    JobWrite& write = jobs.emplace_back();
    if (expected_etag.empty()) write.specs = specs.Serialized();
    write.expected_etag = std::move(expected_etag);
  }
  JobWrite& write = jobs[at->second];
  write.job = job;
  write.job.clear_queue_position();
  write.times = times;
}

void Changes::PutSpecs(v1::Job& job) { FindJob(job.id())->specs = SpecsAside(job).Serialized(); }

JobWrite* Changes::FindJob(const std::string& job_id) {
  const auto at = job_index.find(job_id);
  return at == job_index.end() ? nullptr : &jobs[at->second];
}

}  // namespace mantissa::server
