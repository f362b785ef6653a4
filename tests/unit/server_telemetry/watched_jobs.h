// Jobs in a real store whose commits a feed hears, for tests.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "process/clock.h"
#include "server/store/sqlite_store.h"
#include "server/telemetry/jobs_feed.h"
#include "server/telemetry/jobs_watch.h"
#include "tests/unit/whole_job.h"

namespace mantissa::server {

// Every call is one commit, stored and then heard. Used by one thread; readers of the store and the feed may be others.
class WatchedJobs {
 public:
  explicit WatchedJobs(JobsFeedOptions options = {}) : feed(options) {
    // In memory where it can be: what is tested here is order, not the disk.
    std::string folder =
        std::filesystem::exists("/dev/shm") ? "/dev/shm/mantissa-jobs-XXXXXX" : "/tmp/mantissa-jobs-XXXXXX";
    folder_ = mkdtemp(folder.data());
    auto opened = SqliteStore::Open(folder_ / "mantissa.db", clock_);
    if (!opened.ok()) throw std::runtime_error(opened.status().ToString());
    store = *std::move(opened);
  }
  ~WatchedJobs() {
    store.reset();
    std::filesystem::remove_all(folder_);
  }

  static std::string Id(int number) {
    std::string digits = std::to_string(number);
    return "01jd" + std::string(22 - digits.size(), '0') + digits;
  }

  // A new job, QUEUED; the larger its number, the newer. `with` says what else it is.
  v1::Job& Add(int number, const std::function<void(v1::Job&)>& with = nullptr) {
    v1::Job& job = jobs[Id(number)];
    job.set_id(Id(number));
    job.set_tenant("default");
    job.set_state(v1::Job::QUEUED);
    job.set_name("digits");
    job.mutable_create_time()->set_seconds(1'000 + number);
    job.mutable_spec()->set_name("digits");
    job.mutable_resolved_spec()->set_name("digits");
    if (with) with(job);
    Put(job);
    return job;
  }

  // What was changed of it, or nothing but its etag.
  void Put(v1::Job& job) {
    Changes changes;
    Write(job, changes);
    Commit(changes);
  }

  void Write(v1::Job& job, Changes& changes) {
    const std::string before = job.etag();
    job.set_etag("e" + std::to_string(++etags_));
    PutWhole(changes, job, before, {});
  }

  void Move(int number, v1::Job::State state) {
    v1::Job& job = jobs.at(Id(number));
    job.set_state(state);
    Put(job);
  }

  // Of a job that has ended: no other can go.
  void Delete(int number) {
    Changes changes;
    const v1::Job& job = jobs.at(Id(number));
    changes.deletions.push_back({job.id(), job.etag(), job.tenant()});
    jobs.erase(Id(number));
    Commit(changes);
  }

  void Commit(const Changes& changes) {
    const absl::Status status = store->Commit(changes);
    ASSERT_TRUE(status.ok()) << status;
    feed.OnCommitted(changes);
  }

  // Number and state of each job there is.
  std::map<std::string, v1::Job::State> States() const {
    std::map<std::string, v1::Job::State> states;
    for (const auto& [id, job] : jobs) states[id] = job.state();
    return states;
  }

  std::map<std::string, v1::Job> jobs;  // as they are stored
  JobsFeed feed;
  std::unique_ptr<SqliteStore> store;

 private:
  process::RealClock clock_;
  std::filesystem::path folder_;
  int etags_ = 0;
};

// What a client makes of a watch.
class JobsClient {
 public:
  explicit JobsClient(JobsWatch& watch) : watch_(watch) {}

  // One frame; false when there is none.
  bool Read() {
    const absl::StatusOr<std::optional<std::string>> bytes = watch_.Next();
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    if (!bytes.ok() || !bytes->has_value()) return false;
    v1::WatchJobsResponse frame;
    EXPECT_TRUE(frame.ParseFromString(**bytes));
    for (const v1::Job& job : frame.jobs()) {
      told.push_back(job.id());
      if (job.state() == v1::Job::STATE_UNSPECIFIED) {
        states.erase(job.id());
      } else {
        states[job.id()] = job.state();
      }
    }
    frames.push_back(std::move(frame));
    return true;
  }

  void ReadAll() {
    while (Read()) {
    }
  }

  std::vector<v1::WatchJobsResponse> frames;
  std::vector<std::string> told;                 // ids, in order
  std::map<std::string, v1::Job::State> states;  // by id

 private:
  JobsWatch& watch_;
};

}  // namespace mantissa::server
