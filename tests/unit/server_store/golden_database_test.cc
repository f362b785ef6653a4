// A database of every schema that was ever released opens and reads as it did. tests/golden/schema_NNNN.db is written
// once, when schema N is released, by this test under MANTISSA_WRITE_GOLDEN=<file>, and never again.
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "server/store/migrations.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

void Fill(JobStore& store) {
  Changes changes = NewJob(1, v1::Job::SUCCEEDED);
  v1::Job running = SampleJob(2, v1::Job::RUNNING);
  (*running.mutable_labels())["team"] = "vision";
  running.set_attempt(2);
  PutWhole(changes, running, "", {std::chrono::milliseconds(1500), std::chrono::milliseconds(9000)});
  changes.attempts.push_back({SampleAttempt(2, 1, v1::Attempt::LOST), std::nullopt});
  changes.attempts.push_back({SampleAttempt(2, 2, v1::Attempt::RUNNING), std::nullopt});
  changes.checkpoints.push_back(SampleCheckpoint(2, 1, 100));
  changes.telemetry = {SampleEvent(2, 1), SampleRecords(2, 2, 5, 2), SampleEvent(2, 7, v1::JobEvent::ERROR)};
  changes.idempotency.push_back({"default", "request-1", "text", {SampleId(1)}});
  changes.artifacts.push_back({SampleId(1), 1, {}, ArtifactWrite::Kind::kStored});
  changes.artifacts.back().artifact.set_name("model.safetensors");
  changes.artifacts.push_back({SampleId(1), 1, {}, ArtifactWrite::Kind::kWanted});
  changes.artifacts.back().artifact.set_name("loss.png");
  v1::Report report;
  report.set_finding("found");
  changes.reports.push_back({SampleId(1), 1, 5, report.SerializeAsString()});
  ASSERT_TRUE(store.Commit(changes).ok());
}

constexpr int kFirstWithReports = 5;

class GoldenDatabase : public testing::TestWithParam<int> {};

TEST_P(GoldenDatabase, OpensAndReadsAsItDid) {
  const std::string golden = absl::StrFormat("tests/golden/schema_%04d.db", GetParam());
  TempFolder folder;
  process::FakeClock clock;
  if (const char* target = std::getenv("MANTISSA_WRITE_GOLDEN"); target != nullptr) {
    Fill(*SqliteStore::Open(target, clock).value());
    std::filesystem::remove(std::string(target) + ".lock");
    return;
  }
  ASSERT_TRUE(std::filesystem::exists(golden)) << "schema " << GetParam() << " has no golden database";
  std::filesystem::copy_file(golden, folder / "jobs.db");
  auto store = SqliteStore::Open(folder / "jobs.db", clock);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->SchemaVersion().value(), static_cast<int32_t>(Migrations().size()));

  EXPECT_EQ((*store)->GetJob(SampleId(1), "default")->state(), v1::Job::SUCCEEDED);
  const std::vector<LiveJob> live = (*store)->Load().value().jobs;
  ASSERT_EQ(live.size(), 2u);
  EXPECT_EQ(live[0].wanted_artifacts.front().artifact.name(), "loss.png");
  EXPECT_EQ(live[1].job.resolved_spec().priority(), 7);
  EXPECT_EQ(live[1].times.queued.count(), 1500);
  EXPECT_EQ(live[1].attempts.back().placements(0).token(), "0123456789abcdef");
  EXPECT_EQ(live[1].checkpoints.front().step(), 100);
  EXPECT_EQ(live[1].last_sequence, 7);
  v1::JobFilter labelled;
  (*labelled.mutable_labels())["team"] = "vision";
  EXPECT_EQ((*store)->ListJobs("", labelled, "", 10)->jobs.size(), 1u);
  EXPECT_EQ((*store)->ListEvents(SampleId(2), 1, v1::JobEvent::ERROR, 10)->segments.size(), 1u);
  EXPECT_EQ((*store)->ReadTelemetry(SampleId(2), 3, 1 << 20)->segments.front().first_sequence(), 3);
  EXPECT_EQ((*store)->ListArtifacts(SampleId(1))->front().artifact.name(), "model.safetensors");
  EXPECT_TRUE((*store)->FindIdempotency("default", "request-1")->has_value());
  const std::optional<v1::Report> report = (*store)->GetReport(SampleId(1)).value();
  EXPECT_EQ(report.has_value() ? report->finding() : "", GetParam() < kFirstWithReports ? "" : "found");

  // And it is a working store.
  EXPECT_TRUE((*store)->Commit(NewJob(3)).ok());
}

INSTANTIATE_TEST_SUITE_P(Schemas, GoldenDatabase, testing::Range(1, static_cast<int>(Migrations().size()) + 1));

}  // namespace
}  // namespace mantissa::server
