// The least that a durable submit can cost with the same parts: a gRPC callback server and one SQLite table, committed
// in groups with the settings of the real store. It checks nothing, places nothing, remembers nothing.
//
//   bench_floor_server FOLDER      prints its port
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <mutex>
#include <sqlite3.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <grpcpp/server_builder.h>

#include "mantissa/v1/job_service.grpc.pb.h"
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

class Service final : public v1::JobService::CallbackService {
 public:
  explicit Service(Table& table) : table_(table) {}

  grpc::ServerUnaryReactor* SubmitJob(grpc::CallbackServerContext* context, const v1::SubmitJobRequest* request,
                                      v1::Job* job) override {
    auto* const reactor = context->DefaultReactor();
    job->set_id(ulids_.Next(std::chrono::system_clock::now()));
    *job->mutable_spec() = request->spec();
    table_.Write({{job->id(), request->spec().SerializeAsString()}}, [reactor] { reactor->Finish(grpc::Status::OK); });
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
  process::UlidSource ulids_;
};

}  // namespace

int main(int argc, char** argv) {
  Must(argc == 2, "usage: bench_floor_server FOLDER");
  Table table(std::string(argv[1]) + "/floor.db");
  Service service(table);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  std::printf("%d\n", port);
  std::fflush(stdout);
  server->Wait();
}
