#include "server/telemetry/jobs_feed.h"

#include <optional>

#include "gtest/gtest.h"

#include "server/core/errors.h"
#include "tests/unit/server_telemetry/watched_job.h"

namespace mantissa::server {
namespace {

Changes JobChange(const std::string& id, v1::Job::State state = v1::Job::RUNNING) {
  v1::Job job;
  job.set_id(id);
  job.set_state(state);
  Changes changes;
  PutWhole(changes, job, "e0", {});
  return changes;
}

Changes Deletion(const std::string& id) {
  Changes changes;
  changes.deletions.push_back({id, "e0", "default"});
  return changes;
}

// "a:RUNNING", in the order in which they were taken.
std::vector<std::string> Take(JobsFeed::Follower& follower, size_t max_jobs = 100, size_t max_bytes = 1 << 20) {
  const auto taken = follower.Take(max_jobs, max_bytes);
  EXPECT_TRUE(taken.ok()) << taken.status();
  std::vector<std::string> told;
  if (!taken.ok()) return told;
  for (const JobsFeed::SharedJob& job : *taken) told.push_back(job->id() + ":" + v1::Job::State_Name(job->state()));
  return told;
}

using Told = std::vector<std::string>;

TEST(JobsFeedTest, KeepsNothingWhileNobodyFollows) {
  JobsFeed feed;
  for (int i = 0; i < 100; ++i) feed.OnCommitted(JobChange("j" + std::to_string(i)));
  EXPECT_EQ(feed.kept(), 0u);
  std::optional<JobsFeed::Follower> follower;
  follower.emplace(feed, std::make_shared<Sleeper>());
  for (int i = 0; i < 100; ++i) feed.OnCommitted(JobChange("j" + std::to_string(i)));
  EXPECT_EQ(feed.kept(), 100u);
  follower.reset();
  EXPECT_EQ(feed.kept(), 0u) << "nobody is left who would take them";
  EXPECT_EQ(feed.followers(), 0u);
}

TEST(JobsFeedTest, AFollowerIsWokenByEveryChangeOfAJobAndSeesNothingFromBeforeIt) {
  JobsFeed feed;
  const JobsFeed::Follower other(feed, std::make_shared<Sleeper>());
  feed.OnCommitted(JobChange("before"));
  auto sleeper = std::make_shared<Sleeper>();
  JobsFeed::Follower follower(feed, sleeper);
  EXPECT_EQ(Take(follower), Told{});
  feed.OnCommitted(Changes{});
  EXPECT_EQ(sleeper->wakes, 0) << "a commit that changes no job";
  feed.OnCommitted(JobChange("a"));
  EXPECT_EQ(sleeper->wakes, 1);
  EXPECT_EQ(Take(follower), Told{"a:RUNNING"});
  EXPECT_EQ(Take(follower), Told{}) << "once";
  feed.OnCommitted(Deletion("a"));
  EXPECT_EQ(sleeper->wakes, 2);
}

TEST(JobsFeedTest, WhoTakesSlowlyGetsTheNewestOfEachJobAndNoStepBetween) {
  JobsFeed feed;
  JobsFeed::Follower follower(feed, std::make_shared<Sleeper>());
  feed.OnCommitted(JobChange("a", v1::Job::QUEUED));
  feed.OnCommitted(JobChange("b", v1::Job::QUEUED));
  for (int i = 0; i < 1'000; ++i) feed.OnCommitted(JobChange("a", v1::Job::RUNNING));
  feed.OnCommitted(JobChange("a", v1::Job::SUCCEEDED));
  EXPECT_EQ(feed.kept(), 2u);
  EXPECT_EQ(Take(follower), (Told{"b:QUEUED", "a:SUCCEEDED"})) << "in the order of their newest changes";
}

TEST(JobsFeedTest, TakesNoMoreThanWasAskedFor) {
  JobsFeed feed;
  JobsFeed::Follower follower(feed, std::make_shared<Sleeper>());
  for (const char* const id : {"a", "b", "c", "d"}) feed.OnCommitted(JobChange(id));
  EXPECT_EQ(Take(follower, /*max_jobs=*/2), (Told{"a:RUNNING", "b:RUNNING"}));
  EXPECT_EQ(Take(follower, /*max_jobs=*/2, /*max_bytes=*/1), (Told{"c:RUNNING"})) << "one reaches the limit";
  EXPECT_EQ(Take(follower), (Told{"d:RUNNING"}));
}

TEST(JobsFeedTest, WhatEveryFollowerHasPassedIsDropped) {
  JobsFeed feed;
  JobsFeed::Follower quick(feed, std::make_shared<Sleeper>()), slow(feed, std::make_shared<Sleeper>());
  for (const char* const id : {"a", "b"}) feed.OnCommitted(JobChange(id));
  EXPECT_EQ(Take(quick).size(), 2u);
  EXPECT_EQ(feed.kept(), 2u) << "the other still needs them";
  EXPECT_EQ(Take(slow, 1), (Told{"a:RUNNING"}));
  EXPECT_EQ(feed.kept(), 1u);
  EXPECT_EQ(Take(slow), (Told{"b:RUNNING"}));
  EXPECT_EQ(feed.kept(), 0u);
}

TEST(JobsFeedTest, ADeletedJobIsItsIdAndTakesThePlaceOfWhatItWas) {
  JobsFeed feed;
  JobsFeed::Follower follower(feed, std::make_shared<Sleeper>());
  feed.OnCommitted(JobChange("a", v1::Job::SUCCEEDED));
  feed.OnCommitted(Deletion("a"));
  EXPECT_EQ(Take(follower), Told{"a:STATE_UNSPECIFIED"});
}

TEST(JobsFeedTest, AJobThatGoesInTheCommitThatEndsItHasGone) {
  JobsFeed feed;
  JobsFeed::Follower follower(feed, std::make_shared<Sleeper>());
  Changes changes = JobChange("a", v1::Job::CANCELLED);
  changes.deletions.push_back({"a", "e1", "default"});
  feed.OnCommitted(changes);
  EXPECT_EQ(Take(follower), Told{"a:STATE_UNSPECIFIED"});
}

TEST(JobsFeedTest, WhoIsLeftBehindIsToldSoAndHoldsNobodyUp) {
  JobsFeed feed({.most_jobs = 3});
  std::optional<JobsFeed::Follower> stalled;
  stalled.emplace(feed, std::make_shared<Sleeper>());
  JobsFeed::Follower follower(feed, std::make_shared<Sleeper>());
  for (const char* const id : {"a", "b", "c", "b", "a", "c"}) feed.OnCommitted(JobChange(id));
  EXPECT_EQ(Take(follower).size(), 3u) << "as many jobs as are kept, however often they change";
  feed.OnCommitted(JobChange("d"));
  EXPECT_EQ(feed.kept(), 3u);
  const auto taken = stalled->Take(100, 1 << 20);
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(taken.status()), "LEFT_BEHIND");
  EXPECT_FALSE(stalled->Take(100, 1 << 20).ok()) << "and stays behind";
  EXPECT_EQ(Take(follower), Told{"d:RUNNING"}) << "who keeps up goes on";
  stalled.reset();
  JobsFeed::Follower anew(feed, std::make_shared<Sleeper>());
  feed.OnCommitted(JobChange("e"));
  EXPECT_EQ(Take(anew), Told{"e:RUNNING"}) << "who begins again goes on, too";
}

}  // namespace
}  // namespace mantissa::server
