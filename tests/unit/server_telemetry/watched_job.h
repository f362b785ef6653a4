// A job in a real store whose commits a hub hears, for tests.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "process/clock.h"
#include "server/store/sqlite_store.h"
#include "server/telemetry/telemetry_hub.h"
#include "server/telemetry/watch.h"
#include "tests/unit/whole_job.h"

namespace mantissa::server {

struct Sleeper : Wakeable {
  void Wake() override { ++wakes; }
  int wakes = 0;
};

// Makes entries 1, 2, 3, ... of one job, each commit one segment of records or one event.
class WatchedJob {
 public:
  explicit WatchedJob(TelemetryHubOptions options = {}) : hub(options) {
    // In memory where it can be: what is tested here is order, not the disk.
    std::string folder =
        std::filesystem::exists("/dev/shm") ? "/dev/shm/mantissa-watch-XXXXXX" : "/tmp/mantissa-watch-XXXXXX";
    folder_ = mkdtemp(folder.data());
    auto opened = SqliteStore::Open(folder_ / "mantissa.db", clock_);
    if (!opened.ok()) throw std::runtime_error(opened.status().ToString());
    store = *std::move(opened);
    job.set_id("01jd0000000000000000000000");
    job.set_tenant("default");
    job.set_state(v1::Job::QUEUED);
    job.mutable_spec()->set_name("watched");
    job.mutable_resolved_spec()->set_name("watched");
    job.set_name("watched");
    job.set_etag("e0");
    Commit(JobChanges(""));
  }
  ~WatchedJob() {
    store.reset();
    std::filesystem::remove_all(folder_);
  }

  // What says so is stored, and not yet heard.
  Changes JobChanges(const std::string& expected_etag) {
    Changes changes;
    PutWhole(changes, job, expected_etag, {});
    return changes;
  }

  Changes StateChanges(v1::Job::State state) {
    const std::string before = job.etag();
    job.set_state(state);
    job.set_etag("e" + std::to_string(++etags_));
    return JobChanges(before);
  }

  Changes RecordChanges(int rows, v1::Column::Standard column = v1::Column::LOSS) {
    Changes changes;
    AddRecords(rows, column, changes);
    return changes;
  }

  void AddRecords(int rows, v1::Column::Standard id, Changes& changes) {
    v1::Segment segment = NextSegment(rows);
    v1::Column& column = *segment.mutable_records()->add_columns();
    column.set_standard(id);
    for (int row = 0; row < rows; ++row) {
      column.mutable_doubles()->add_values(static_cast<double>(segment.first_sequence() + row));
    }
    changes.telemetry.push_back({job.id(), std::move(segment)});
  }

  Changes EventChanges() {
    Changes changes;
    v1::Segment segment = NextSegment(1);
    segment.mutable_event()->set_severity(v1::JobEvent::INFO);
    segment.mutable_event()->set_reason("E" + std::to_string(segment.first_sequence()));
    changes.telemetry.push_back({job.id(), std::move(segment)});
    return changes;
  }

  void Store(const Changes& changes) {
    const absl::Status status = store->Commit(changes);
    ASSERT_TRUE(status.ok()) << status;
  }

  // Stored, then heard.
  void Commit(const Changes& changes) {
    Store(changes);
    hub.OnCommitted(changes);
  }

  v1::WatchJobRequest Request() const {
    v1::WatchJobRequest request;
    request.set_job_id(job.id());
    return request;
  }

  std::unique_ptr<Watch> Open(const v1::WatchJobRequest& request, std::shared_ptr<Wakeable> sleeper = nullptr) {
    if (!sleeper) sleeper = std::make_shared<Sleeper>();
    auto watch = Watch::Open(request, "default", *store, hub, std::move(sleeper));
    EXPECT_TRUE(watch.ok()) << watch.status();
    return watch.ok() ? *std::move(watch) : nullptr;
  }

  int64_t last_sequence() const { return next_sequence_ - 1; }

  v1::Job job;
  TelemetryHub hub;
  std::unique_ptr<SqliteStore> store;

 private:
  v1::Segment NextSegment(int count) {
    v1::Segment segment;
    segment.set_attempt(1);
    segment.set_count(count);
    segment.set_first_sequence(next_sequence_);
    segment.set_first_attempt_sequence(next_sequence_);
    next_sequence_ += count;
    return segment;
  }

  process::RealClock clock_;
  std::filesystem::path folder_;
  int64_t next_sequence_ = 1;
  int etags_ = 0;
};

// What a client sees of a frame.
inline v1::WatchJobResponse OnTheWire(const WatchFrame& frame) {
  std::string bytes;
  for (const auto& segment : frame.segments) bytes += *segment;
  bytes += frame.rest.SerializeAsString();
  v1::WatchJobResponse response;
  EXPECT_TRUE(response.ParseFromString(bytes));
  return response;
}

// Takes frames until there is nothing more to send; checks covers on the way.
class Client {
 public:
  explicit Client(Watch& watch, int64_t first = 1) : watch_(watch), next_(first) {}

  // One frame; false when there is none.
  bool Read() {
    absl::StatusOr<std::optional<WatchFrame>> frame = watch_.Next();
    EXPECT_TRUE(frame.ok()) << frame.status();
    if (!frame.ok() || !frame->has_value()) return false;
    v1::WatchJobResponse response = OnTheWire(**frame);
    if (response.has_covers()) {
      EXPECT_EQ(response.covers().from(), next_) << "covers are contiguous";
      EXPECT_LE(response.covers().from(), response.covers().to());
      next_ = response.covers().to() + 1;
    }
    for (const v1::Segment& segment : response.segments()) {
      EXPECT_TRUE(sequences.empty() || sequences.back() < segment.first_sequence());
      for (int i = 0; i < segment.count(); ++i) sequences.push_back(segment.first_sequence() + i);
      EXPECT_LT(sequences.back(), next_) << "what is sent is covered";
    }
    EXPECT_FALSE(ended) << "nothing comes after the end";
    ended = response.end();
    last = (*frame)->last;
    frames.push_back(std::move(response));
    return true;
  }

  void ReadAll() {
    while (Read()) {
    }
  }

  int64_t next() const { return next_; }

  std::vector<v1::WatchJobResponse> frames;
  std::vector<int64_t> sequences;
  bool ended = false;
  bool last = false;

 private:
  Watch& watch_;
  int64_t next_;
};

inline std::vector<int64_t> Range(int64_t from, int64_t to) {
  std::vector<int64_t> range;
  for (int64_t i = from; i <= to; ++i) range.push_back(i);
  return range;
}

}  // namespace mantissa::server
