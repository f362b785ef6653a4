#pragma once

#include <map>
#include <string>

#include "mantissa/v1/job.pb.h"
#include "server/store/group_commit.h"

namespace mantissa::server {

// A line of the log for every state that a job comes into and for every checkpoint, once it is durable, each with the
// job's trace id. Not thread-safe: it hears of commits on the writer's thread.
class JobLog final : public CommitListener {
 public:
  // A job that had not ended when the server started; before the first commit.
  void Seed(const v1::Job& job) { Follow(job); }

  void OnCommitted(const Changes& changes) override;

 private:
  void Follow(const v1::Job& job);

  // By job; only of jobs that have an attempt at work, for no other has new checkpoints: a long queue costs nothing.
  std::map<std::string, std::string, std::less<>> trace_ids_;
};

}  // namespace mantissa::server
