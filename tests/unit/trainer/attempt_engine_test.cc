// Which engine an attempt gets, and what it says of it.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/fake_recorder.h"
#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class AttemptEngineTest : public ::testing::Test {
 protected:
  AttemptSeen Run(const std::string& mode, const FakeRecorder* device) {
    const std::string execution = mode.empty() ? "" : absl::StrCat("execution { mode: ", mode, " }");
    // FP16, a window of another size, evaluation: as much as an attempt can do beside its iterations.
    const v1::RunAttempt run = AttemptOf(absl::StrCat(
        "training { batch_size: 5 precision { mode: FP16 } data { eval { synthetic { samples: 8 shape: 6 classes: 3 "
        "seed: 1 } } } evaluation { every_steps: 4 } telemetry { ranges_every_iterations: 3 } ",
        execution, " }"));
    const RunFolder folder;
    AttemptConditions conditions;
    if (device != nullptr) conditions.recorder = &device->functions();
    return RunIn(folder, run, conditions);
  }

  static std::vector<std::string> Reasons(const AttemptSeen& seen) { return ReasonsOf(seen.events()); }
  static std::string MessageOf(const AttemptSeen& seen, const std::string& reason) {
    for (const v1::JobEvent& event : seen.events()) {
      if (event.reason() == reason) return event.message();
    }
    return "";
  }
  static bool SaysRecorded(const AttemptSeen& seen) {
    for (const v1::JobEvent& event : seen.events()) {
      if (event.has_started()) return event.started().recorded();
    }
    ADD_FAILURE() << "nothing was started";
    return false;
  }
  static std::string Result(const AttemptSeen& seen) {
    v1::JobResult result = seen.ended.result();
    result.clear_training_time();
    result.clear_samples_per_second();
    result.clear_peak_memory_bytes();
    result.clear_checkpoint();
    return result.ShortDebugString();
  }
};

TEST_F(AttemptEngineTest, EveryModeGivesTheSameResult) {
  const AttemptSeen alone = Run("", nullptr);
  ASSERT_EQ(alone.ended.state(), v1::Attempt::SUCCEEDED) << alone.ended.message();
  EXPECT_FALSE(SaysRecorded(alone));
  EXPECT_THAT(Reasons(alone), AllOf(Not(Contains("STEP_EAGER")), Not(Contains("STEP_GRAPH"))));
  for (const std::string mode : {"AUTO", "GRAPH", "EAGER"}) {
    SCOPED_TRACE(mode);
    FakeRecorder device(FakeRecorder::Pace::kLater);
    const AttemptSeen seen = Run(mode, &device);
    ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
    EXPECT_EQ(Result(seen), Result(alone));
    EXPECT_EQ(SaysRecorded(seen), mode != "EAGER");
    EXPECT_EQ(device.launches(), mode == "EAGER" ? 0 : 20);
    if (mode == "EAGER") {
      EXPECT_THAT(Reasons(seen), AllOf(Not(Contains("STEP_EAGER")), Not(Contains("STEP_GRAPH"))));
    } else {
      EXPECT_EQ(MessageOf(seen, "STEP_GRAPH"),
                "every iteration is one recorded graph; it takes 3.0 MiB of memory for itself");
    }
  }
}

TEST_F(AttemptEngineTest, AutoGoesOnWithoutAGraphAndSaysWhy) {
  const AttemptSeen alone = Run("", nullptr);
  FakeRecorder device;
  device.recordings_that_work = 0;
  const AttemptSeen seen = Run("AUTO", &device);
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(Result(seen), Result(alone));
  EXPECT_FALSE(SaysRecorded(seen));
  EXPECT_THAT(MessageOf(seen, "STEP_EAGER"), HasSubstr("could not be recorded (no more graphs)"));
}

TEST_F(AttemptEngineTest, GraphIsRefusedWhereItCannotBeWithFieldReasonAndRemedy) {
  FakeRecorder device;
  device.recordings_that_work = 0;
  const AttemptSeen refused = Run("GRAPH", &device);
  EXPECT_EQ(refused.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(refused.ended.reason(), v1::Reason::BAD_SPEC);
  EXPECT_THAT(refused.ended.message(),
              AllOf(HasSubstr("training.execution.mode"), HasSubstr("no more graphs"), HasSubstr("use AUTO")));
  const AttemptSeen cpu = Run("GRAPH", nullptr);
  EXPECT_EQ(cpu.ended.reason(), v1::Reason::BAD_SPEC);
  EXPECT_THAT(cpu.ended.message(), HasSubstr("this device has no graphs to record"));
}

TEST(CrowdsDeviceTest, DataTakeAtMostHalfOfWhatIsFree) {
  EXPECT_FALSE(CrowdsDevice(50, 100));
  EXPECT_TRUE(CrowdsDevice(51, 100));
  EXPECT_TRUE(CrowdsDevice(1, 0));
}

}  // namespace
}  // namespace mantissa::trainer
