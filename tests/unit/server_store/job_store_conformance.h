// Every kind of JobStore, and the fixture of what each of them promises. A new store joins by a line in EveryStore.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "active_store.h"
#include "process/fake_clock.h"
#include "server/store/fake_store.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"
#include "tests/support/postgres_server.h"

namespace mantissa::server {

struct StoreKind {
  std::string name;
  std::function<std::shared_ptr<JobStore>(const TempFolder&, const process::Clock&)> open;
  bool on_postgres = false;
};

inline void PrintTo(const StoreKind& kind, std::ostream* out) { *out << kind.name; }

inline std::vector<StoreKind> EveryStore() {
  return {{"Fake", [](const TempFolder&, const process::Clock&) { return std::make_shared<FakeStore>(); }},
          {"Sqlite", [](const TempFolder& folder,
                        const process::Clock& clock) { return SqliteStore::Open(folder / "jobs.db", clock).value(); }},
          {"Postgres",
           [](const TempFolder&, const process::Clock& clock) {
             auto active = std::make_shared<ActiveStore>(tests::PostgresServer::Get().NewDatabase(), clock);
             return std::shared_ptr<JobStore>(active, active->store.get());
           },
           /*on_postgres=*/true}};
}

class JobStoreConformance : public testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    if (GetParam().on_postgres) MANTISSA_NEEDS_POSTGRES();
    store_ = GetParam().open(folder_, clock_);
    ASSERT_NE(store_, nullptr);
  }

  void Commit(const Changes& changes) {
    absl::Status status = store_->Commit(changes);
    ASSERT_TRUE(status.ok()) << status;
  }
  void ExpectAborted(const Changes& changes, const char* why) {
    EXPECT_EQ(store_->Commit(changes).code(), absl::StatusCode::kAborted) << why;
  }
  std::vector<std::string> Ids(const v1::JobFilter& filter, const std::string& before = "", int32_t limit = 100,
                               const std::string& tenant = "") {
    std::vector<std::string> ids;
    const JobPage page = store_->ListJobs(tenant, filter, before, limit).value();
    for (const v1::Job& job : page.jobs) ids.push_back(job.id());
    return ids;
  }

  TempFolder folder_;
  process::FakeClock clock_;
  std::shared_ptr<JobStore> store_;
};

}  // namespace mantissa::server
