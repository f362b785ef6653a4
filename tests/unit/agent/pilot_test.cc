#include "worker/agent/pilot.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr process::SteadyTime kStart{std::chrono::hours(1)};
constexpr process::WallTime kWallStart{seconds(1'795'000'000)};

TEST(PilotTest, LeavesAMarginBeforeTheEndWhetherBusyOrNot) {
  for (const bool busy : {true, false}) {
    Pilot pilot({.end = kStart + seconds(100), .margin = seconds(30), .idle = seconds(1'000)}, kStart);
    EXPECT_EQ(pilot.Decide(busy, /*ready=*/true, kStart + milliseconds(69'999)), Pilot::Leave::kNo) << busy;
    EXPECT_EQ(pilot.Decide(busy, /*ready=*/true, kStart + seconds(70)), Pilot::Leave::kBeforeTheEnd) << busy;
  }
}

TEST(PilotTest, LeavesWhenThereWasNothingToDoForLongEnough) {
  Pilot pilot({.idle = seconds(10)}, kStart);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/true, kStart), Pilot::Leave::kNo);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, true, kStart + milliseconds(9'999)), Pilot::Leave::kNo);
  EXPECT_EQ(pilot.Decide(/*busy=*/true, true, kStart + seconds(500)), Pilot::Leave::kNo)
      << "without an end it works on";
  EXPECT_EQ(pilot.Decide(/*busy=*/false, true, kStart + milliseconds(509'999)), Pilot::Leave::kNo)
      << "counted from the end of the work";
  EXPECT_EQ(pilot.Decide(/*busy=*/false, true, kStart + seconds(510)), Pilot::Leave::kIdle);
}

TEST(PilotTest, IsIdleOnlyOnceItCouldHaveHadWork) {
  Pilot pilot({.idle = seconds(10), .start = seconds(60)}, kStart);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/false, kStart + seconds(40)), Pilot::Leave::kNo);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/true, kStart + seconds(50)), Pilot::Leave::kNo);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/true, kStart + milliseconds(59'999)), Pilot::Leave::kNo);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/false, kStart + seconds(60)), Pilot::Leave::kIdle)
      << "a server that is away just now has given nothing, either";
}

TEST(PilotTest, GivesUpWhereNobodyCouldEverGiveItWork) {
  Pilot pilot({.idle = seconds(10), .start = seconds(60)}, kStart);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/false, kStart + milliseconds(69'999)), Pilot::Leave::kNo);
  EXPECT_EQ(pilot.Decide(/*busy=*/false, /*ready=*/false, kStart + seconds(70)), Pilot::Leave::kNeverReady);
}

class PreparePilotTest : public testing::Test {
 protected:
  PreparePilotTest() {
    settings.pilot = true;
    settings.drain_grace = seconds(30);
    settings.pilot_margin = seconds(60);
  }

  absl::StatusOr<std::optional<PilotOptions>> Prepare() {
    const auto read = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = environment.find(name);
      if (found == environment.end()) return std::nullopt;
      return found->second;
    };
    return PreparePilot(settings, read, kStart, kWallStart);
  }
  std::string Complaint() {
    const auto prepared = Prepare();
    return prepared.ok() ? "" : std::string(prepared.status().message());
  }

  WorkerSettings settings;
  std::map<std::string, std::string> environment;
};

TEST_F(PreparePilotTest, TheEndIsWhatIsGivenOrWhatSlurmSaysOrNone) {
  EXPECT_FALSE((*Prepare())->end.has_value());
  environment["SLURM_JOB_END_TIME"] = "1795000100";
  EXPECT_EQ((*Prepare())->end, kStart + seconds(100));
  settings.pilot_end = "1795000200";
  EXPECT_EQ((*Prepare())->end, kStart + seconds(200)) << "what is given goes first";
  settings.pilot_end = "2026-11-18T11:11:40Z";
  EXPECT_EQ((*Prepare())->end, kStart + seconds(300));
  EXPECT_EQ((*Prepare())->margin, seconds(60));
  settings.pilot_idle = seconds(7);
  EXPECT_EQ((*Prepare())->idle, seconds(7));
}

TEST_F(PreparePilotTest, WithoutPilotNothingEndsTheWorker) {
  settings.pilot = false;
  environment["SLURM_JOB_END_TIME"] = "no time at all";
  const auto prepared = Prepare();
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_FALSE(prepared->has_value());
  settings.pilot_end = "1795000200";
  EXPECT_THAT(Complaint(), HasSubstr("--pilot-end: says nothing without --pilot"));
}

TEST_F(PreparePilotTest, AnEndThatIsNoneOrTooNearIsRefused) {
  for (const char* const text : {"soon", "1795000100x", "-5", "99999999999999", "2026-11-18 11:11:40"}) {
    settings.pilot_end = text;
    EXPECT_THAT(Complaint(), HasSubstr(std::string("--pilot-end: '") + text)) << text;
  }
  settings.pilot_end = "1795000060";
  EXPECT_THAT(Complaint(), HasSubstr("--pilot-end: 60 s are left, and --pilot-margin keeps 1m"));
  settings.pilot_end = "1795000061";
  EXPECT_EQ(Complaint(), "");
  settings.pilot_end.clear();
  environment["SLURM_JOB_END_TIME"] = "1794999999";
  EXPECT_THAT(Complaint(), HasSubstr("SLURM_JOB_END_TIME: -1 s are left"));
}

TEST_F(PreparePilotTest, AMarginThatTheDrainDoesNotFitIntoIsRefused) {
  settings.pilot_margin = milliseconds(29'999);
  EXPECT_THAT(Complaint(), HasSubstr("--pilot-margin: 29999ms is less than --drain-grace (30s)"));
  settings.pilot_margin = seconds(30);
  EXPECT_EQ(Complaint(), "");
  settings.pilot_idle = milliseconds(0);
  EXPECT_THAT(Complaint(), HasSubstr("--pilot-idle: must be more than 0"));
}

}  // namespace
}  // namespace mantissa::agent
