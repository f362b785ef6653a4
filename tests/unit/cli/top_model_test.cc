#include "client/cli/top/top_model.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/top_jobs.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::size_t kAll = 1000;

template <typename Jobs>
std::vector<std::string> Ids(const Jobs& jobs) {
  std::vector<std::string> ids;
  for (const auto& job : jobs) {
    if constexpr (requires { job.job; }) {
      ids.push_back(job.job.id());
    } else {
      ids.push_back(job.id());
    }
  }
  return ids;
}

TEST(TopModel, PutsEachJobWhereItBelongsOldestFirst) {
  TopModel model("here");
  model.Apply(JobsFrame({TopJob("6", "", v1::Job::PAUSED), TopJob("5", "", v1::Job::QUEUED),
                         TopJob("4", "", v1::Job::STARTING), TopJob("3", "", v1::Job::RUNNING),
                         TopJob("2", "", v1::Job::PAUSED), TopJob("1", "", v1::Job::QUEUED)}),
              AtNoon());
  const TopState state = model.State(AtNoon(), kAll);
  EXPECT_THAT(Ids(state.running), ElementsAre("3", "4"));
  EXPECT_THAT(Ids(state.waiting), ElementsAre("1", "5", "2", "6"))
      << "paused jobs wait for somebody, not for their turn";
  EXPECT_THAT(state.live, ElementsAre(std::pair(v1::Job::QUEUED, 2), std::pair(v1::Job::STARTING, 1),
                                      std::pair(v1::Job::RUNNING, 1), std::pair(v1::Job::PAUSED, 2)));
}

TEST(TopModel, KeepsTheNewestOfAJobAndForgetsADeletedOne) {
  TopModel model("here");
  model.Apply(JobsFrame({TopJob("1", "", v1::Job::QUEUED), TopJob("2", "", v1::Job::QUEUED)}), AtNoon());
  model.Apply(JobsFrame({TopJob("1", "", v1::Job::RUNNING)}), AtNoon());
  EXPECT_THAT(Ids(model.State(AtNoon(), kAll).running), ElementsAre("1"));
  model.Apply(JobsFrame({EndedTopJob("1", "", v1::Job::FAILED, 0)}), AtNoon());
  TopState state = model.State(AtNoon(), kAll);
  EXPECT_THAT(state.running, IsEmpty());
  EXPECT_THAT(Ids(state.ended), ElementsAre("1"));
  v1::Job gone;
  gone.set_id("1");
  model.Apply(JobsFrame({gone}), AtNoon());
  gone.set_id("2");
  model.Apply(JobsFrame({gone}), AtNoon());
  state = model.State(AtNoon(), kAll);
  EXPECT_THAT(state.ended, IsEmpty());
  EXPECT_THAT(state.waiting, IsEmpty());
}

TEST(TopModel, AnEndIsFinalWhateverIsToldLate) {
  TopModel model("here");
  model.Apply(JobsFrame({EndedTopJob("1", "", v1::Job::SUCCEEDED, 0)}), AtNoon());
  model.Apply(JobsFrame({TopJob("1", "", v1::Job::RUNNING)}), AtNoon());
  const TopState state = model.State(AtNoon(), kAll);
  EXPECT_THAT(state.running, IsEmpty());
  EXPECT_THAT(Ids(state.ended), ElementsAre("1"));
}

TEST(TopModel, ANewWatchSaysAnewWhatIsLiveAndKeepsWhatHasEnded) {
  TopModel model("here");
  model.BeginAnew();
  model.Apply(JobsFrame({TopJob("1", "", v1::Job::RUNNING), TopJob("2", "", v1::Job::QUEUED)}), AtNoon());
  model.Apply(JobsFrame({EndedTopJob("3", "", v1::Job::SUCCEEDED, 0)}), AtNoon());
  model.BeginAnew();
  EXPECT_THAT(Ids(model.State(AtNoon(), kAll).running), ElementsAre("1")) << "until it says something";
  model.Apply(JobsFrame({TopJob("2", "", v1::Job::RUNNING)}), AtNoon());
  model.Apply(JobsFrame({TopJob("0", "", v1::Job::RUNNING)}), AtNoon());
  const TopState state = model.State(AtNoon(), kAll);
  EXPECT_THAT(Ids(state.running), ElementsAre("0", "2"));
  EXPECT_THAT(Ids(state.ended), ElementsAre("3"));
}

TEST(TopModel, CountsOnlyEndsThatItSawAndOnlyForAMinute) {
  TopModel model("here");
  EXPECT_FALSE(model.State(AtNoon(), kAll).ended_in_last_minute) << "nothing is watched";
  v1::ListJobsResponse listed;
  *listed.add_jobs() = EndedTopJob("1", "", v1::Job::SUCCEEDED, 5);
  model.AddListed(listed);
  model.Apply(JobsFrame({EndedTopJob("2", "", v1::Job::FAILED, 0)}), AtNoon());
  model.Apply(JobsFrame({EndedTopJob("2", "", v1::Job::FAILED, 0)}), AtNoon(1));
  model.Apply(JobsFrame({EndedTopJob("3", "", v1::Job::CANCELLED, -30)}), AtNoon(30));
  EXPECT_EQ(model.State(AtNoon(59), kAll).ended_in_last_minute, 2);
  EXPECT_EQ(model.State(AtNoon(60), kAll).ended_in_last_minute, 1);
  EXPECT_EQ(model.State(AtNoon(90), kAll).ended_in_last_minute, 0);
}

TEST(TopModel, ShowsWhatEndedLastFirstAndKeepsABoundedNumber) {
  TopModel model("here");
  const int all = static_cast<int>(TopModel::kMostEnded) + 10;
  for (int i = 1; i <= all; ++i) {
    model.Apply(JobsFrame({EndedTopJob(std::to_string(i), "", v1::Job::SUCCEEDED, i)}), AtNoon());
  }
  EXPECT_THAT(Ids(model.State(AtNoon(), 3).ended), ElementsAre("1", "2", "3"));
  EXPECT_EQ(model.State(AtNoon(), 10 * kAll).ended.size(), TopModel::kMostEnded);
}

TEST(TopModel, CountsAllOfWhatItShowsAFewOf) {
  TopModel model("here");
  for (int i = 10; i < 30; ++i) model.Apply(JobsFrame({TopJob(std::to_string(i), "", v1::Job::QUEUED)}), AtNoon());
  const TopState state = model.State(AtNoon(), 2);
  EXPECT_THAT(Ids(state.waiting), ElementsAre("10", "11"));
  EXPECT_EQ(state.live.at(v1::Job::QUEUED), 20);
}

v1::Job At(int iteration, int seconds, int attempt = 1) {
  v1::Job job = RunningTopJob("1", "", iteration, 1'000, "w", "cpu");
  job.set_attempt(attempt);
  job.mutable_start_time()->set_seconds(kNoon - 100);
  job.mutable_progress()->mutable_time()->set_seconds(kNoon + seconds);
  return job;
}

std::optional<double> LeftAfter(const std::vector<v1::Job>& course) {
  TopModel model("here");
  for (const v1::Job& job : course) model.Apply(JobsFrame({job}), AtNoon());
  return model.State(AtNoon(), kAll).running.at(0).seconds_left;
}

TEST(TopModel, TellsTheTimeThatIsLeftByThePaceThatItSaw) {
  // Begun 100 s ago, so one iteration a second, as long as nothing else is known.
  EXPECT_DOUBLE_EQ(*LeftAfter({At(100, 0)}), 900);
  // But it is seen to make ten a second.
  EXPECT_DOUBLE_EQ(*LeftAfter({At(100, 0), At(200, 10)}), 80);
  // Of late it has slowed down: by the last 15 to 30 seconds, not by all of its life.
  EXPECT_DOUBLE_EQ(*LeftAfter({At(100, 0), At(400, 30), At(415, 45), At(430, 60)}), 570);
}

TEST(TopModel, ANewAttemptHasAPaceOfItsOwnAndOneThatIsNotKnownIsNotGuessed) {
  EXPECT_FALSE(LeftAfter({At(100, 0, 2)})) << "start_time is the first attempt's";
  EXPECT_FALSE(LeftAfter({At(500, 0), At(100, 10, 2)})) << "which began from a checkpoint";
  EXPECT_DOUBLE_EQ(*LeftAfter({At(500, 0), At(100, 10, 2), At(120, 20, 2)}), 440);
  EXPECT_FALSE(LeftAfter({At(100, 0, 2), At(100, 10, 2)})) << "it stands still";
  EXPECT_FALSE(LeftAfter({At(1'000, 0)})) << "nothing is left";
  v1::Job stopping = At(100, 0);
  stopping.set_state(v1::Job::PAUSING);
  EXPECT_FALSE(LeftAfter({stopping}));
}

}  // namespace
}  // namespace mantissa::cli
