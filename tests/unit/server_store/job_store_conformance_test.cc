// What every JobStore promises of jobs and what belongs to them; of their telemetry in job_store_telemetry_test.cc.
#include "job_store_conformance.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST_P(JobStoreConformance, AJobComesBackAsItWasWritten) {
  v1::Job job = SampleJob(1);
  job.mutable_progress()->set_loss(std::numeric_limits<double>::quiet_NaN());
  job.set_queue_position(9);
  Changes changes;
  PutWhole(changes, job, "", {});
  Commit(changes);
  job.clear_queue_position();
  EXPECT_EQ(store_->GetJob(job.id(), "")->SerializeAsString(), job.SerializeAsString());
  EXPECT_TRUE(store_->GetJob(job.id(), "default").ok());
  EXPECT_EQ(store_->GetJob(job.id(), "other").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->GetJob("nobody", "").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(JobStoreConformance, ANewJobMustBeNewAndAnOldOneUnchanged) {
  Commit(NewJob(1));
  ExpectAborted(NewJob(1), "it is there");
  v1::Job job = SampleJob(1);
  job.set_etag("2");
  Changes changes;
  PutWhole(changes, job, "7", {});
  ExpectAborted(changes, "another etag");
  Changes absent;
  PutWhole(absent, SampleJob(2), "1", {});
  ExpectAborted(absent, "it is not there");
  Changes good;
  PutWhole(good, job, "1", {});
  Commit(good);
  EXPECT_EQ(store_->GetJob(job.id(), "")->etag(), "2");
  EXPECT_EQ(store_->GetJob(job.id(), "")->resolved_spec().priority(), 7) << "specs stay";
}

TEST_P(JobStoreConformance, TerminalJobsNeverChange) {
  for (v1::Job::State end : {v1::Job::SUCCEEDED, v1::Job::FAILED, v1::Job::CANCELLED}) {
    Commit(NewJob(end, end));
    v1::Job job = SampleJob(end, v1::Job::QUEUED);
    job.set_etag("2");
    Changes changes;
    PutWhole(changes, job, "1", {});
    ExpectAborted(changes, "it has ended");
    EXPECT_EQ(store_->GetJob(job.id(), "")->state(), end);
  }
}

TEST_P(JobStoreConformance, AttemptNumbersGrowByOne) {
  Commit(NewJob(1));
  Changes second;
  second.attempts.push_back({SampleAttempt(1, 2), std::nullopt});
  ExpectAborted(second, "the first is missing");
  Changes first;
  first.attempts.push_back({SampleAttempt(1, 1), std::nullopt});
  Commit(first);
  ExpectAborted(first, "it is there");
  Commit(second);
}

TEST_P(JobStoreConformance, AnAttemptIsWrittenOnlyUnderItsFence) {
  Changes made = NewJob(1);
  made.attempts.push_back({SampleAttempt(1, 1), std::nullopt});
  Commit(made);
  auto update = [](int32_t number, const std::string& token, std::vector<v1::Attempt::State> states) {
    Changes changes;
    changes.attempts.push_back({SampleAttempt(1, number, v1::Attempt::RUNNING, token), AttemptGuard{token, states}});
    return changes;
  };
  const std::string token = "0123456789abcdef";
  ExpectAborted(update(1, "0123456789abcdeX", {v1::Attempt::STARTING}), "another token");
  ExpectAborted(update(1, token, {v1::Attempt::RUNNING}), "another state");
  ExpectAborted(update(2, token, {v1::Attempt::STARTING}), "another attempt");
  EXPECT_EQ(store_->ListAttempts(SampleId(1))->front().state(), v1::Attempt::STARTING);
  Commit(update(1, token, {v1::Attempt::RUNNING, v1::Attempt::STARTING}));
  const std::vector<v1::Attempt> attempts = store_->ListAttempts(SampleId(1)).value();
  EXPECT_EQ(attempts.front().state(), v1::Attempt::RUNNING);
  EXPECT_TRUE(attempts.front().placements(0).token().empty()) << "tokens are left out of reads";
}

TEST_P(JobStoreConformance, AllOfATransactionOrNothing) {
  Changes changes = NewJob(1);
  changes.telemetry.push_back(SampleEvent(1, 1));
  changes.idempotency.push_back({"default", "r", "text", {SampleId(1)}});
  changes.attempts.push_back({SampleAttempt(1, 5), std::nullopt});
  ExpectAborted(changes, "a hole in the attempt numbers");
  EXPECT_EQ(store_->GetJob(SampleId(1), "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(store_->FindIdempotency("default", "r")->has_value());
  EXPECT_EQ(store_->ReadTelemetry(SampleId(1), 1, 1000)->last_sequence, 0);
  changes.attempts.clear();
  Commit(changes);
}

TEST_P(JobStoreConformance, RowsOfAnUnknownJobAreRefused) {
  Changes attempt, checkpoint, artifact, report, telemetry;
  report.reports.push_back({SampleId(1), 1, 5, "\x0a\x01x"});
  attempt.attempts.push_back({SampleAttempt(1, 1), std::nullopt});
  checkpoint.checkpoints.push_back(SampleCheckpoint(1, 1, 1));
  artifact.artifacts.push_back({SampleId(1), 1, {}, ArtifactWrite::Kind::kStored});
  telemetry.telemetry.push_back(SampleRecords(1, 1, 1));
  for (const Changes* changes : {&attempt, &checkpoint, &artifact, &report, &telemetry})
    ExpectAborted(*changes, "no job");
}

TEST_P(JobStoreConformance, JobsAreListedNewestFirstByPages) {
  for (int i = 1; i <= 5; ++i) Commit(NewJob(i));
  const JobPage page = store_->ListJobs("", {}, "", 2).value();
  EXPECT_TRUE(page.more);
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.jobs[0].id(), SampleId(5));
  EXPECT_THAT(Ids({}, SampleId(4), 2), ElementsAre(SampleId(3), SampleId(2)));
  EXPECT_FALSE(store_->ListJobs("", {}, SampleId(3), 2)->more);
  EXPECT_THAT(Ids({}, SampleId(1), 2), IsEmpty());
}

TEST_P(JobStoreConformance, EveryFilterCounts) {
  Commit(NewJob(1));
  Commit(NewJob(2, v1::Job::SUCCEEDED));
  v1::Job other = SampleJob(3);
  other.set_name("other");
  other.set_tenant("tenant-2");
  (*other.mutable_labels())["team"] = "vision";
  (*other.mutable_labels())["zone"] = "a";
  Changes changes;
  PutWhole(changes, other, "", {});
  Commit(changes);

  v1::JobFilter queued, ended, both, name, label, labels, wrong, after, before;
  queued.add_states(v1::Job::QUEUED);
  ended.add_states(v1::Job::SUCCEEDED);
  both.add_states(v1::Job::QUEUED);
  both.add_states(v1::Job::SUCCEEDED);
  name.set_name("other");
  (*label.mutable_labels())["team"] = "vision";
  labels = label;
  (*labels.mutable_labels())["zone"] = "a";
  wrong = label;
  (*wrong.mutable_labels())["zone"] = "b";
  after.mutable_created_after()->set_seconds(1002);
  before.mutable_created_before()->set_seconds(1002);
  EXPECT_THAT(Ids(queued), ElementsAre(SampleId(3), SampleId(1)));
  EXPECT_THAT(Ids(ended), ElementsAre(SampleId(2)));
  EXPECT_EQ(Ids(both).size(), 3u);
  EXPECT_THAT(Ids(name), ElementsAre(SampleId(3)));
  EXPECT_THAT(Ids(label), ElementsAre(SampleId(3)));
  EXPECT_THAT(Ids(labels), ElementsAre(SampleId(3)));
  EXPECT_THAT(Ids(wrong), IsEmpty());
  EXPECT_THAT(Ids(after), ElementsAre(SampleId(3)));
  EXPECT_THAT(Ids(before), ElementsAre(SampleId(1)));
  EXPECT_THAT(Ids({}, "", 100, "tenant-2"), ElementsAre(SampleId(3)));
  EXPECT_THAT(Ids(queued, "", 100, "default"), ElementsAre(SampleId(1)));
}

TEST_P(JobStoreConformance, CheckpointsAreCommittedOnceAndListedNewestFirst) {
  Changes changes = NewJob(1);
  for (auto [attempt, step] : {std::pair(1, 100), std::pair(1, 200), std::pair(2, 150)}) {
    changes.checkpoints.push_back(SampleCheckpoint(1, attempt, step));
  }
  Commit(changes);
  Changes again, other;
  again.checkpoints.push_back(SampleCheckpoint(1, 1, 100));
  again.checkpoints.back().set_final(true);
  Commit(again);
  other.checkpoints.push_back(SampleCheckpoint(1, 1, 100, 'b'));
  ExpectAborted(other, "another manifest");
  Changes deleted;
  deleted.deleted_checkpoints.push_back(SampleId(1) + "/" + CheckpointName(1, 200));
  Commit(deleted);
  Commit(deleted);
  const std::vector<v1::Checkpoint> left = store_->ListCheckpoints(SampleId(1)).value();
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].name(), CheckpointName(2, 150));
  EXPECT_TRUE(left[1].final());
  EXPECT_EQ(store_->Load()->jobs.front().checkpoints.front().name(), CheckpointName(1, 100)) << "loaded oldest first";
}

// With nothing but skipped iterations between them, they differ in name only.
TEST_P(JobStoreConformance, TwoCheckpointsMayBeOfOneStep) {
  Changes changes = NewJob(1);
  changes.checkpoints = {SampleCheckpoint(1, 1, 100), SampleCheckpoint(1, 1, 100, 'b'), SampleCheckpoint(1, 1, 200)};
  const std::string second = CheckpointName(1, 100) + "-iteration-00000105";
  changes.checkpoints[1].set_name(second);
  Commit(changes);
  const std::vector<v1::Checkpoint> loaded = store_->Load()->jobs.front().checkpoints;
  ASSERT_EQ(loaded.size(), 3u);
  EXPECT_EQ(loaded[0].name(), CheckpointName(1, 100));
  EXPECT_EQ(loaded[1].name(), second);
  EXPECT_EQ(store_->ListCheckpoints(SampleId(1)).value()[1].name(), second);
  Changes deleted;
  deleted.deleted_checkpoints.push_back(SampleId(1) + "/" + CheckpointName(1, 100));
  Commit(deleted);
  EXPECT_EQ(store_->Load()->jobs.front().checkpoints.front().name(), second);
}

TEST_P(JobStoreConformance, ArtifactsAreWantedThenStoredOrLost) {
  Commit(NewJob(1, v1::Job::SUCCEEDED));
  EXPECT_TRUE(store_->Load()->jobs.empty());
  auto write = [](const std::string& name, int32_t attempt, ArtifactWrite::Kind kind) {
    Changes changes;
    changes.artifacts.push_back({SampleId(1), attempt, {}, kind});
    changes.artifacts.back().artifact.set_name(name);
    return changes;
  };
  Commit(write("model", 1, ArtifactWrite::Kind::kWanted));
  Commit(write("log", 1, ArtifactWrite::Kind::kWanted));
  EXPECT_EQ(store_->ListWantedArtifacts(SampleId(1))->size(), 2u);
  EXPECT_TRUE(store_->ListArtifacts(SampleId(1))->empty());
  const std::vector<LiveJob> live = store_->Load().value().jobs;
  ASSERT_EQ(live.size(), 1u) << "an ended job with wanted files is loaded";
  EXPECT_EQ(live[0].wanted_artifacts.size(), 2u);
  Commit(write("model", 1, ArtifactWrite::Kind::kStored));
  Commit(write("log", 1, ArtifactWrite::Kind::kLost));
  Commit(write("model", 1, ArtifactWrite::Kind::kLost));
  EXPECT_TRUE(store_->ListWantedArtifacts(SampleId(1))->empty());
  Commit(write("model", 2, ArtifactWrite::Kind::kStored));
  const std::vector<ArtifactWrite> stored = store_->ListArtifacts(SampleId(1)).value();
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].attempt, 2) << "the later attempt's file replaces the earlier one's";
  EXPECT_TRUE(store_->Load()->jobs.empty());
}

v1::Report SampleReport(const std::string& finding) {
  v1::Report report;
  report.set_finding(finding);
  for (int i = 0; i < 1000; ++i) report.mutable_format_table()->add_values()->set_value(i);
  return report;
}

TEST_P(JobStoreConformance, AReportComesBackAsItWasAndALaterOneTakesItsPlace) {
  Commit(NewJob(1, v1::Job::RUNNING));
  EXPECT_FALSE(store_->GetReport(SampleId(1)).value().has_value());
  Changes changes;
  changes.reports.push_back({SampleId(1), 1, 5, SampleReport("first").SerializeAsString()});
  EXPECT_TRUE(changes.NeedsCommit());
  Commit(changes);
  EXPECT_EQ(store_->GetReport(SampleId(1)).value()->SerializeAsString(), SampleReport("first").SerializeAsString());
  changes.reports[0] = {SampleId(1), 2, 6, SampleReport("second").SerializeAsString()};
  Commit(changes);
  EXPECT_EQ(store_->GetReport(SampleId(1)).value()->finding(), "second");
  EXPECT_FALSE(store_->GetReport("nobody").value().has_value());
}

TEST_P(JobStoreConformance, AReportIsWrittenWithTheMoveOfItsJobOrNotAtAll) {
  Commit(NewJob(1, v1::Job::RUNNING));
  v1::Job ended = SampleJob(1, v1::Job::SUCCEEDED);
  ended.set_etag("2");
  Changes changes;
  PutWhole(changes, ended, "7", {});
  changes.reports.push_back({SampleId(1), 1, 5, SampleReport("x").SerializeAsString()});
  ExpectAborted(changes, "another etag");
  EXPECT_FALSE(store_->GetReport(SampleId(1)).value().has_value());
}

TEST_P(JobStoreConformance, LoadsWhatHasNotEnded) {
  Commit(NewJob(1, v1::Job::SUCCEEDED));
  Changes changes;
  PutWhole(changes, SampleJob(2, v1::Job::RUNNING), "", {std::chrono::milliseconds(5), std::chrono::milliseconds(9)});
  changes.attempts.push_back({SampleAttempt(2, 1, v1::Attempt::LOST), std::nullopt});
  changes.attempts.push_back({SampleAttempt(2, 2, v1::Attempt::RUNNING, "another token 16"), std::nullopt});
  changes.telemetry = {SampleEvent(2, 1), SampleRecords(2, 2, 3, 1), SampleEvent(2, 5), SampleRecords(2, 6, 4, 2),
                       SampleEvent(2, 10)};
  Commit(changes);
  const std::vector<LiveJob> live = store_->Load().value().jobs;
  ASSERT_EQ(live.size(), 1u);
  EXPECT_EQ(live[0].job.id(), SampleId(2));
  EXPECT_EQ(live[0].job.resolved_spec().priority(), 7);
  ASSERT_EQ(live[0].attempts.size(), 2u);
  EXPECT_EQ(live[0].attempts[1].placements(0).token(), "another token 16") << "with tokens";
  EXPECT_EQ(live[0].last_sequence, 10);
  EXPECT_THAT(live[0].durable_attempt_sequences, ElementsAre(std::pair<int32_t, int64_t>(2, 4)));
  EXPECT_EQ(live[0].times.queued.count(), 5);
  EXPECT_EQ(live[0].times.total.count(), 9);
}

TEST_P(JobStoreConformance, ANewSpecAndItsLabelsReplaceTheOld) {
  v1::Job job = SampleJob(1);
  (*job.mutable_labels())["team"] = "vision";
  Changes changes;
  PutWhole(changes, job, "", {});
  Commit(changes);
  (*job.mutable_labels())["team"] = "nlp";
  job.mutable_resolved_spec()->set_priority(9);
  job.set_etag("2");
  Changes update;
  PutWhole(update, job, "1", {});
  update.PutSpecs(job.id(), EncodeSpecs(job.spec(), job.resolved_spec()));
  Commit(update);
  EXPECT_EQ(store_->GetJob(SampleId(1), "")->resolved_spec().priority(), 9);
  v1::JobFilter filter;
  (*filter.mutable_labels())["team"] = "nlp";
  EXPECT_THAT(Ids(filter), ElementsAre(SampleId(1)));
  (*filter.mutable_labels())["team"] = "vision";
  EXPECT_THAT(Ids(filter), IsEmpty());
}

TEST_P(JobStoreConformance, ADeletedJobIsHiddenAtOnceAndTakenAwayPieceByPiece) {
  Changes changes = NewJob(1, v1::Job::SUCCEEDED);
  changes.attempts.push_back({SampleAttempt(1, 1, v1::Attempt::SUCCEEDED), std::nullopt});
  changes.checkpoints.push_back(SampleCheckpoint(1, 1, 5));
  changes.artifacts.push_back({SampleId(1), 1, {}, ArtifactWrite::Kind::kWanted});
  changes.artifacts.back().artifact.set_name("model.safetensors");
  changes.reports.push_back({SampleId(1), 1, 5, "\x0a\x01x"});
  Commit(changes);
  for (int i = 0; i < 3; ++i) {
    Changes history;
    history.telemetry = {SampleEvent(1, 1 + i)};
    Commit(history);
  }
  Commit(NewJob(2, v1::Job::SUCCEEDED));

  Changes wrong;
  wrong.deletions.push_back({SampleId(1), "7", "default"});
  ExpectAborted(wrong, "another etag");
  Changes deletion;
  deletion.deletions.push_back({SampleId(1), "1", "default"});
  Commit(deletion);
  ExpectAborted(deletion, "twice");
  EXPECT_EQ(store_->GetJob(SampleId(1), "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Ids({}), ElementsAre(SampleId(2)));
  EXPECT_THAT(store_->Load()->jobs, IsEmpty()) << "its file is no longer wanted";
  ASSERT_EQ(store_->Load()->orphans.size(), 1u);
  EXPECT_EQ(store_->Load()->orphans[0].name(), "attempt-0001/step-00000005");

  Changes sweep;
  sweep.sweeps.push_back({SampleId(1), false});
  Changes last;
  last.sweeps.push_back({SampleId(1), true});
  for (int i = 0; i < 3; ++i) Commit(sweep);
  std::vector<DeletedJob> left = store_->ListDeletedJobs("", 10).value();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_FALSE(left[0].has_telemetry);
  EXPECT_TRUE(left[0].has_checkpoints);
  Commit(last);
  EXPECT_EQ(store_->ListDeletedJobs("", 10)->size(), 1u) << "as long as files of it are there";
  Changes forgotten;
  forgotten.deleted_checkpoints.push_back(SampleId(1) + "/attempt-0001/step-00000005");
  Commit(forgotten);
  Commit(last);
  EXPECT_THAT(store_->ListDeletedJobs("", 10).value(), IsEmpty());
  Commit(NewJob(1));  // nothing of it is in the way
  EXPECT_FALSE(store_->GetReport(SampleId(1)).value().has_value());
}

TEST_P(JobStoreConformance, AJobThatIsThereIsNotSwept) {
  Changes changes = NewJob(1, v1::Job::SUCCEEDED);
  changes.telemetry = {SampleEvent(1, 1)};
  Commit(changes);
  Changes last;
  last.sweeps.push_back({SampleId(1), true});
  Commit(last);
  EXPECT_EQ(store_->ReadTelemetry(SampleId(1), 1, 1 << 20)->segments.size(), 1u);
  EXPECT_TRUE(store_->GetJob(SampleId(1), "").ok());
  Commit(NewJob(2, v1::Job::RUNNING));
  Changes live;
  live.deletions.push_back({SampleId(2), "1", "default"});
  ExpectAborted(live, "it has not ended");
}

TEST_P(JobStoreConformance, ExpiredAreThoseThatEndedTooLongAgoAndThoseBeyondTheNewest) {
  for (int i = 1; i <= 5; ++i) {
    v1::Job job = SampleJob(i, i == 3 ? v1::Job::RUNNING : v1::Job::FAILED);
    if (i != 3) job.mutable_end_time()->set_seconds(1'000 * (6 - i));  // the first ended last
    Changes changes;
    PutWhole(changes, job, "", {});
    Commit(changes);
  }
  const auto expired = [&](int64_t before_seconds, int64_t keep, int32_t limit = 10) {
    std::vector<std::string> ids;
    const auto jobs = store_->ListExpiredJobs({before_seconds * 1'000'000, keep}, limit).value();
    for (const JobDeletion& job : jobs) {
      ids.push_back(job.job_id);
      const v1::Job stored = store_->GetJob(job.job_id, "").value();
      EXPECT_EQ(job.expected_etag, stored.etag());
      EXPECT_EQ(job.tenant, stored.tenant());
    }
    return ids;
  };
  EXPECT_THAT(expired(0, 0), IsEmpty());
  EXPECT_THAT(expired(4'000, 0), ElementsAre(SampleId(5), SampleId(4)));
  EXPECT_THAT(expired(4'000, 0, 1), ElementsAre(SampleId(5)));
  EXPECT_THAT(expired(0, 3), ElementsAre(SampleId(5)));
  EXPECT_THAT(expired(0, 4), IsEmpty());
  EXPECT_THAT(expired(0, 9), IsEmpty());
  EXPECT_THAT(expired(2'001, 2), ElementsAre(SampleId(5), SampleId(4)));
}

TEST_P(JobStoreConformance, DrainedWorkersAreRemembered) {
  Changes changes;
  changes.drains = {{"ws-1", true}, {"ws-2", true}};
  Commit(changes);
  Commit(changes);
  EXPECT_THAT(store_->Load()->drained_workers, ElementsAre("ws-1", "ws-2"));
  Changes undo;
  undo.drains = {{"ws-1", false}};
  Commit(undo);
  EXPECT_THAT(store_->Load()->drained_workers, ElementsAre("ws-2"));
}

TEST_P(JobStoreConformance, RequestsAreRemembered) {
  Changes changes = NewJob(1);
  changes.idempotency.push_back({"default", "r-1", std::string("a\0b", 3), {SampleId(1), "", SampleId(1)}});
  Commit(changes);
  const std::optional<IdempotencyWrite> found = store_->FindIdempotency("default", "r-1").value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->request, std::string("a\0b", 3));
  EXPECT_THAT(found->job_ids, ElementsAre(SampleId(1), "", SampleId(1)));
  EXPECT_FALSE(store_->FindIdempotency("other", "r-1")->has_value());
  EXPECT_FALSE(store_->FindIdempotency("default", "r-2")->has_value());
  Changes again;
  again.idempotency = changes.idempotency;
  ExpectAborted(again, "the same request twice");
}

TEST_P(JobStoreConformance, EpochsGrow) {
  const int64_t first = store_->BeginEpoch().value();
  EXPECT_EQ(store_->BeginEpoch().value(), first + 1);
  EXPECT_GE(store_->SchemaVersion().value(), 1);
}

INSTANTIATE_TEST_SUITE_P(Stores, JobStoreConformance, testing::ValuesIn(EveryStore()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mantissa::server
