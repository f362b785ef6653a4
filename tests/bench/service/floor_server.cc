// The least that a durable submit, and its dispatch to a worker that waits, can cost with the same parts: a gRPC
// callback server and one SQLite table, committed in groups with the settings of the real store. It checks nothing,
// gives every job to whoever has waited longest, and remembers nothing.
//
//   bench_floor_server FOLDER      prints its port
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <sqlite3.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <grpcpp/server_builder.h>

#include "mantissa/v1/job_service.grpc.pb.h"
#include "mantissa/v1/worker_service.grpc.pb.h"
#include "process/ids.h"

namespace {

using namespace mantissa;

void Must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "floor: %s\n", what);
  std::exit(1);
}

class Table {
 public:
  struct Row {
    std::string id;
    std::string bytes;
  };

  explicit Table(const std::string& path) {
    Must(sqlite3_open(path.c_str(), &database_) == SQLITE_OK, "open");
    for (const char* sql : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
                            "CREATE TABLE rows (id TEXT PRIMARY KEY, bytes BLOB NOT NULL)"}) {
      Must(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) == SQLITE_OK, sql);
    }
    Must(sqlite3_prepare_v2(database_, "INSERT INTO rows VALUES (?, ?)", -1, &insert_, nullptr) == SQLITE_OK,
         "prepare");
    writer_ = std::thread([this] { Run(); });
  }

  void Write(std::vector<Row> rows, std::function<void()> done) {
    std::lock_guard lock(mutex_);
    waiting_.push_back({std::move(rows), std::move(done)});
    wake_.notify_one();
  }

 private:
  struct Item {
    std::vector<Row> rows;
    std::function<void()> done;
  };

  void Run() {
    while (true) {
      std::deque<Item> batch;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return !waiting_.empty(); });
        batch.swap(waiting_);
      }
      Must(sqlite3_exec(database_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK, "begin");
      for (const Item& item : batch) {
        for (const Row& row : item.rows) {
          sqlite3_bind_text(insert_, 1, row.id.data(), static_cast<int>(row.id.size()), SQLITE_STATIC);
          sqlite3_bind_blob(insert_, 2, row.bytes.data(), static_cast<int>(row.bytes.size()), SQLITE_STATIC);
          Must(sqlite3_step(insert_) == SQLITE_DONE, "insert");
          sqlite3_reset(insert_);
        }
      }
      Must(sqlite3_exec(database_, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK, "commit");
      for (const Item& item : batch) item.done();
    }
  }

  sqlite3* database_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> waiting_;
  std::thread writer_;
};

// Hanging calls, at most one of a worker.
class Workers final : public v1::WorkerService::CallbackService {
 public:
  grpc::ServerUnaryReactor* Synchronize(grpc::CallbackServerContext* context, const v1::SynchronizeRequest* request,
                                        v1::SynchronizeResponse* response) override {
    auto* const reactor = context->DefaultReactor();
    response->set_report_number(request->report_number());
    response->set_desired_revision(request->report_number());
    response->mutable_next_call()->set_seconds(5);
    const bool ended = request->attempts_size() > 0 && request->attempts(0).state() == v1::Attempt::SUCCEEDED;
    std::unique_lock lock(mutex_);
    workers_ = true;
    const auto older = waiting_.find(request->worker_id());
    if (older != waiting_.end()) {
      // A call that hangs is superseded; one that comes late is older than what has come.
      const Waiting& waits = older->second;
      if (waits.request->session_id() == request->session_id() &&
          waits.request->report_number() > request->report_number()) {
        reactor->Finish(kSuperseded);
        return reactor;
      }
      waits.reactor->Finish(kSuperseded);
      waiting_.erase(older);
    }
    if (ended || request->report_number() == 1) {
      if (ended) {
        v1::DesiredAttempt& desired = *response->add_attempts();
        *desired.mutable_ref() = request->attempts(0).ref();
        desired.set_goal(v1::DesiredAttempt::FORGET);
      }
      reactor->Finish(grpc::Status::OK);
      return reactor;
    }
    waiting_[request->worker_id()] = {reactor, request, response};
    if (request->attempts_size() == 0) free_.push_back(request->worker_id());
    AssignThose();
    return reactor;
  }

  void Assign(const std::string& job_id, const v1::JobSpec& spec) {
    std::unique_lock lock(mutex_);
    if (!workers_) return;
    unassigned_.push_back({job_id, spec});
    AssignThose();
  }

 private:
  // Under mutex_.
  void AssignThose() {
    while (!free_.empty() && !unassigned_.empty()) {
      const auto worker = waiting_.find(free_.front());
      free_.pop_front();
      if (worker == waiting_.end() || worker->second.request->attempts_size() > 0) continue;
      const Waiting waits = worker->second;
      waiting_.erase(worker);
      v1::DesiredAttempt& desired = *waits.response->add_attempts();
      desired.mutable_ref()->set_job_id(unassigned_.front().first);
      desired.mutable_ref()->set_attempt(1);
      desired.set_goal(v1::DesiredAttempt::RUN);
      *desired.mutable_assignment()->mutable_spec() = std::move(unassigned_.front().second);
      unassigned_.pop_front();
      waits.reactor->Finish(grpc::Status::OK);
    }
  }

  struct Waiting {
    grpc::ServerUnaryReactor* reactor = nullptr;
    const v1::SynchronizeRequest* request = nullptr;
    v1::SynchronizeResponse* response = nullptr;
  };
  const grpc::Status kSuperseded{grpc::StatusCode::ABORTED, "superseded"};

  std::mutex mutex_;
  bool workers_ = false;  // there are any
  std::map<std::string, Waiting> waiting_;
  std::deque<std::string> free_;
  std::deque<std::pair<std::string, v1::JobSpec>> unassigned_;
};

class Jobs final : public v1::JobService::CallbackService {
 public:
  Jobs(Table& table, Workers& workers) : table_(table), workers_(workers) {}

  grpc::ServerUnaryReactor* SubmitJob(grpc::CallbackServerContext* context, const v1::SubmitJobRequest* request,
                                      v1::Job* job) override {
    auto* const reactor = context->DefaultReactor();
    job->set_id(ulids_.Next(std::chrono::system_clock::now()));
    *job->mutable_spec() = request->spec();
    table_.Write({{job->id(), request->spec().SerializeAsString()}}, [this, reactor, request, job] {
      workers_.Assign(job->id(), request->spec());
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* SubmitJobs(grpc::CallbackServerContext* context, const v1::SubmitJobsRequest* request,
                                       v1::SubmitJobsResponse* response) override {
    auto* const reactor = context->DefaultReactor();
    std::vector<Table::Row> rows;
    for (const v1::JobSpec& spec : request->specs()) {
      v1::Job& job = *response->add_outcomes()->mutable_job();
      job.set_id(ulids_.Next(std::chrono::system_clock::now()));
      rows.push_back({job.id(), spec.SerializeAsString()});
    }
    table_.Write(std::move(rows), [reactor] { reactor->Finish(grpc::Status::OK); });
    return reactor;
  }

 private:
  Table& table_;
  Workers& workers_;
  process::UlidSource ulids_;
};

}  // namespace

int main(int argc, char** argv) {
  Must(argc == 2, "usage: bench_floor_server FOLDER");
  Table table(std::string(argv[1]) + "/floor.db");
  Workers workers;
  Jobs jobs(table, workers);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 4'000);  // workers ping
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&jobs);
  builder.RegisterService(&workers);
  const auto server = builder.BuildAndStart();
  std::printf("%d\n", port);
  std::fflush(stdout);
  server->Wait();
}
