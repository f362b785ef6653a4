#include "server/program/job_log.h"

#include <string>

#include "gmock/gmock.h"

#include "process/log.h"

namespace mantissa::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class JobLogTest : public testing::Test {
 protected:
  void SetUp() override { process::ConfigureLog({.format = process::LogFormat::kJson}); }
  void TearDown() override { process::ConfigureLog({}); }

  static v1::Job Job(v1::Job::State state) {
    v1::Job job;
    job.set_id("job-a");
    job.set_trace_id("trace-a");
    job.set_tenant("default");
    job.set_state(state);
    return job;
  }
  static void Move(v1::Job::State from, v1::Job::State to, Changes& changes) {
    TelemetryWrite& write = changes.telemetry.emplace_back();
    write.job_id = "job-a";
    v1::StateChange& change = *write.segment.mutable_event()->mutable_state_change();
    change.set_from(from);
    change.set_to(to);
    change.set_reason(v1::Reason::ASSIGNED);
    change.set_attempt(1);
    changes.PutJob(Job(to), "etag", {});
  }
  static void Save(Changes& changes) {
    v1::Checkpoint& checkpoint = changes.checkpoints.emplace_back();
    checkpoint.set_job_id("job-a");
    checkpoint.set_attempt(1);
    checkpoint.set_name("attempt-0001/step-00000010");
    checkpoint.set_step(10);
  }
  std::string Logged(const Changes& changes) {
    testing::internal::CaptureStderr();
    log_.OnCommitted(changes);
    return testing::internal::GetCapturedStderr();
  }
  std::string LoggedCheckpoint() {
    Changes changes;
    Save(changes);
    return Logged(changes);
  }

  JobLog log_;
};

TEST_F(JobLogTest, EveryStateIsALineWithTheTraceId) {
  Changes changes;
  Move(v1::Job::STATE_UNSPECIFIED, v1::Job::QUEUED, changes);
  Move(v1::Job::QUEUED, v1::Job::STARTING, changes);
  EXPECT_THAT(
      Logged(changes),
      AllOf(HasSubstr(R"("msg":"job submitted","job":"job-a","attempt":1,"trace_id":"trace-a","tenant":"default",)"
                      R"("state":"QUEUED","reason":"ASSIGNED"})"),
            HasSubstr(R"("msg":"job moved","job":"job-a","attempt":1,"trace_id":"trace-a","tenant":"default",)"
                      R"("state":"STARTING","reason":"ASSIGNED"})")));
}

TEST_F(JobLogTest, ACheckpointIsALineWithTheTraceIdOfItsJob) {
  Changes changes;
  Move(v1::Job::QUEUED, v1::Job::STARTING, changes);
  Logged(changes);
  EXPECT_THAT(LoggedCheckpoint(),
              AllOf(HasSubstr(R"("msg":"checkpoint committed","job":"job-a","attempt":1,"trace_id":"trace-a",)"),
                    HasSubstr(R"("checkpoint":"attempt-0001/step-00000010","step":10)")));
}

TEST_F(JobLogTest, AJobThatRanBeforeTheServerStartedIsKnown) {
  log_.Seed(Job(v1::Job::RUNNING));
  EXPECT_THAT(LoggedCheckpoint(), HasSubstr(R"("trace_id":"trace-a")"));
}

TEST_F(JobLogTest, TheLastCheckpointAndTheEndMayShareACommit) {
  log_.Seed(Job(v1::Job::RUNNING));
  Changes changes;
  Save(changes);
  Move(v1::Job::RUNNING, v1::Job::SUCCEEDED, changes);
  EXPECT_THAT(Logged(changes), AllOf(HasSubstr("checkpoint committed"), HasSubstr(R"("state":"SUCCEEDED")")));
  EXPECT_EQ(LoggedCheckpoint(), "") << "it is forgotten with its end";
}

TEST_F(JobLogTest, ACheckpointOfAnAttemptThatIsRevivedByItIsKnown) {
  Changes changes;
  Save(changes);
  Move(v1::Job::QUEUED, v1::Job::RUNNING, changes);
  EXPECT_THAT(Logged(changes),
              HasSubstr(R"("msg":"checkpoint committed","job":"job-a","attempt":1,"trace_id":"trace-a")"));
}

}  // namespace
}  // namespace mantissa::server
