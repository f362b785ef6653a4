// What the agent shows of its attempts and its disks.
#include <string>

#include "gmock/gmock.h"
#include "prometheus/text_serializer.h"

#include "tests/unit/agent/agent_fixture.h"

namespace mantissa::agent {
namespace {

using testing::HasSubstr;

class AgentMetricsTest : public AgentTest {
 protected:
  std::string Text() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }
};

TEST_F(AgentMetricsTest, CheckpointsAreTimedAndTheirFailuresCounted) {
  Begin(
      "started,event=CHECKPOINT_DAMAGED,event=CHECKPOINT_SAVED,event=CHECKPOINT_SAVED,event=CHECKPOINT_NOT_SAVED,"
      "event=CHECKPOINT_NOT_SAVED,event=CHECKPOINT_NOT_SAVED,event=OTHER");
  Until("the end", [&] { return ReportSays(v1::Attempt::SUCCEEDED); });
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("mantissa_worker_checkpoint_seconds_count 2"));
  EXPECT_THAT(text, HasSubstr("mantissa_worker_checkpoint_seconds_sum 0.5"));
  EXPECT_THAT(text, HasSubstr("mantissa_worker_checkpoint_save_failures_total 3"));
  EXPECT_THAT(text, HasSubstr("mantissa_worker_checkpoint_fallbacks_total 1"));
}

TEST_F(AgentMetricsTest, FreeSpaceIsShownByRoot) {
  StartAgent();
  Until("it is looked at",
        [&] { return Text().find("mantissa_worker_root_free_bytes{root=\"checkpoints\"}") != std::string::npos; });
}

}  // namespace
}  // namespace mantissa::agent
