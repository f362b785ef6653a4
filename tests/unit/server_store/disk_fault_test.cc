// Disks that are full, that fail, and that fail to sync: what was acknowledged stays, what was refused has not
// happened, and what nobody could tell is settled once and for all by the next Load.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <sqlite3.h>
#include <string>

#include "gtest/gtest.h"

#include "failing_vfs.h"
#include "process/clock.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

constexpr int kCommits = 60;
// A hundred kilobytes of a job, so that the log is folded into the database now and then.
constexpr int kRecords = 40'000;

class DiskFaultStory {
 public:
  explicit DiskFaultStory(uint64_t seed) : random_(seed), folder_(TempFolder::InMemory()) {}

  void Run() {
    Open();
    for (int number = 1; number <= kCommits && !testing::Test::HasFailure(); ++number) {
      if (Draw(6) == 0) disk_.Inject(AnyFault());
      Commit(number);
      if (Draw(4) == 0) LookAtACopy();
      if (Draw(25) == 0) Open();
    }
    disk_.Heal();
    Open();
    Look(*store_);
  }

  int64_t failures() const { return disk_.failures(); }
  int unknown() const { return unknown_; }

 private:
  enum class Fate { kThere, kNotThere, kUnknown };

  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }

  DiskFault AnyFault() {
    static constexpr struct {
      DiskFault::Call call;
      int code;
    } kKinds[] = {{DiskFault::Call::kWrite, SQLITE_FULL},
                  {DiskFault::Call::kWrite, SQLITE_IOERR_WRITE},
                  {DiskFault::Call::kSync, SQLITE_IOERR_FSYNC},
                  {DiskFault::Call::kTruncate, SQLITE_IOERR_TRUNCATE}};
    const auto& kind = kKinds[Draw(4)];
    DiskFault fault;
    fault.call = kind.call;
    fault.code = kind.code;
    fault.log = Draw(3) != 0;
    fault.at = 1 + Draw(12);
    fault.lasts = Draw(2) == 0;
    fault.torn = Draw(2) == 0;
    return fault;
  }

  // As a start does: until it can be read, which it can when the disk is well again.
  void Open() {
    store_.reset();
    for (int tries = 0;; ++tries) {
      auto opened = SqliteStore::Open(folder_ / "jobs.db", clock_);
      if (opened.ok()) store_ = *std::move(opened);
      if (opened.ok() && store_->Load().ok()) break;
      store_.reset();
      ASSERT_LT(tries, 3) << "a disk that is well, and a store that cannot be opened: " << opened.status();
      if (tries == 1) disk_.Heal();
    }
    Settle();
  }

  void Commit(int number) {
    Changes changes = NewJob(number);
    changes.attempts.push_back({SampleAttempt(number, 1), std::nullopt});
    changes.telemetry = {SampleEvent(number, 1), SampleRecords(number, 2, kRecords)};
    const absl::Status status = store_->Commit(changes);
    fates_[number] = status.ok() ? Fate::kThere : absl::IsUnknown(status) ? Fate::kUnknown : Fate::kNotThere;
    if (status.ok()) return;
    ASSERT_TRUE(absl::IsUnknown(status) || absl::IsResourceExhausted(status)) << status;
    Look(*store_);  // reads go on
    if (absl::IsUnknown(status)) {
      ++unknown_;
      int tries = 0;
      for (; !store_->Load().ok(); ++tries) {
        ASSERT_LT(tries, 3);
        if (tries == 1) disk_.Heal();
      }
      Settle();
    } else {
      ASSERT_TRUE(store_->Load().ok());
      if (Draw(2) == 0) disk_.Heal();
    }
  }

  // What nobody could tell has happened now, or it never will have.
  void Settle() {
    for (auto& [number, fate] : fates_) {
      if (fate != Fate::kUnknown) continue;
      fate = store_->GetJob(SampleId(number), "").ok() ? Fate::kThere : Fate::kNotThere;
    }
    Look(*store_);
  }

  void Look(SqliteStore& store) {
    for (const auto& [number, fate] : fates_) {
      const absl::Status found = store.GetJob(SampleId(number), "").status();
      if (fate == Fate::kUnknown) continue;
      ASSERT_EQ(found.ok(), fate == Fate::kThere) << "job " << number << ": " << found;
      if (!found.ok()) continue;
      ASSERT_EQ(store.ListAttempts(SampleId(number))->size(), 1u);
      if (number + 3 < static_cast<int>(fates_.size())) continue;  // they are long
      ASSERT_EQ(store.ReadTelemetry(SampleId(number), 1, 1 << 20)->last_sequence, kRecords + 1);
    }
  }

  // The machine is gone in this moment, and the files are all there is.
  void LookAtACopy() {
    TempFolder copy{TempFolder::InMemory()};
    for (const char* name : {"jobs.db", "jobs.db-wal"}) {
      if (!std::filesystem::exists(folder_ / name)) continue;
      std::filesystem::copy_file(folder_ / name, copy / name);
    }
    disk_.Pause(true);
    CheckIntegrity(copy / "jobs.db");
    auto store = SqliteStore::Open(copy / "jobs.db", clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    Look(**store);
    store->reset();
    disk_.Pause(false);
  }

  static void CheckIntegrity(const std::string& path) {
    auto database = SqliteConnection::Open(path, SqliteConnection::Mode::kReadWriteCreate);
    ASSERT_TRUE(database.ok()) << database.status();
    auto check = (*database)->Prepare("PRAGMA integrity_check");
    ASSERT_TRUE(check.ok() && *check->Step());
    ASSERT_EQ(check->Bytes(0), "ok");
  }

  std::mt19937_64 random_;
  TempFolder folder_;
  process::RealClock clock_;
  FailingVfs disk_;
  std::unique_ptr<SqliteStore> store_;
  std::map<int, Fate> fates_;
  int unknown_ = 0;
};

// MANTISSA_SEED runs one seed alone, MANTISSA_SEEDS that many.
TEST(DiskFaults, NothingAcknowledgedIsLostAndNothingRefusedHappens) {
  const char* only = std::getenv("MANTISSA_SEED");
  const char* many = std::getenv("MANTISSA_SEEDS");
  const uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  const uint64_t count = only != nullptr ? 1 : many != nullptr ? std::strtoull(many, nullptr, 10) : 15;
  int64_t failures = 0, unknown = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("MANTISSA_SEED=" + std::to_string(seed));
    DiskFaultStory story(seed);
    story.Run();
    failures += story.failures();
    unknown += story.unknown();
    if (testing::Test::HasFailure()) return;
  }
  std::cout << failures << " calls failed, " << unknown << " commits of unknown outcome, over " << count << " seeds\n";
  EXPECT_TRUE(count < 10 || (failures > 0 && unknown > 0)) << "or nothing was injected";
}

}  // namespace
}  // namespace mantissa::server
