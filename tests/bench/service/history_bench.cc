// A long history: made, replayed, and what reading it costs at least.
//
//   bench_history fill FROM TO RECORDS    writes to the folder TO a database with one ended job that has the records
//   and
//                                         events of the longest run in the folder FROM, again and again until they are
//                                         RECORDS, as commits of a running server would, and compacts it
//   bench_history watch ADDRESS JOB POINTS      WatchJob from the beginning, replay only; POINTS 0: every record
//   bench_history query ADDRESS JOB POINTS      QueryHistory, all pages
//   bench_history floor TO JOB            reads the same bytes out of SQLite and does nothing with them
//
// One JSON object on stdout; times in seconds, of a client that has connected before.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>
#include <sqlite3.h>
#include <string>
#include <vector>

#include <grpcpp/create_channel.h>

#include "mantissa/v1/job_service.grpc.pb.h"
#include "process/clock.h"
#include "server/core/scheduler.h"
#include "server/core/telemetry_segment.h"
#include "server/store/group_commit.h"
#include "server/store/sqlite_store.h"
#include "server/store/telemetry_compactor.h"

namespace {

using namespace mantissa;
using namespace mantissa::server;
using Clock = std::chrono::steady_clock;

constexpr char kJob[] = "01jd0000000000000000000000";
constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

double Since(Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); }

[[noreturn]] void Fail(const std::string& why) {
  std::fprintf(stderr, "bench_history: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T Need(absl::StatusOr<T> value) {
  if (!value.ok()) Fail(value.status().ToString());
  return *std::move(value);
}

std::unique_ptr<SqliteStore> Open(const std::string& folder, const process::Clock& clock) {
  std::filesystem::create_directories(folder);
  return Need(SqliteStore::Open(folder + "/mantissa.db", clock));
}

// Everything a job said, in order.
std::vector<v1::Segment> Entries(SqliteStore& store, const std::string& job_id) {
  std::vector<v1::Segment> entries;
  for (int64_t next = 1;;) {
    TelemetryPage page = Need(store.ReadTelemetry(job_id, next, 1 << 20));
    if (page.segments.empty()) return entries;
    for (v1::Segment& segment : page.segments) {
      next = LastSequence(segment) + 1;
      entries.push_back(std::move(segment));
    }
  }
}

v1::Column* Find(v1::Segment& segment, v1::Column::Standard standard) {
  for (v1::Column& column : *segment.mutable_records()->mutable_columns()) {
    if (column.standard() == standard) return &column;
  }
  return nullptr;
}

// What a column counts up to in the whole run.
int64_t Last(const std::vector<v1::Segment>& entries, v1::Column::Standard standard, bool first = false) {
  int64_t value = 0;
  for (v1::Segment segment : entries) {
    const v1::Column* column = Find(segment, standard);
    if (column == nullptr || column->integers().values_size() == 0) continue;
    if (first) return column->integers().values(0);
    value = *column->integers().values().rbegin();
  }
  return value;
}

int64_t DatabaseBytes(const std::string& folder) {
  int64_t bytes = 0;
  for (const char* suffix : {"", "-wal"}) {
    const std::string path = folder + "/mantissa.db" + suffix;
    if (std::filesystem::exists(path)) bytes += static_cast<int64_t>(std::filesystem::file_size(path));
  }
  return bytes;
}

// Of a database that nobody has open.
int64_t Pragma(const std::string& folder, const char* pragma) {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_open((folder + "/mantissa.db").c_str(), &database) != SQLITE_OK) Fail("the database does not open");
  sqlite3_prepare_v2(database, pragma, -1, &statement, nullptr);
  sqlite3_step(statement);
  const int64_t value = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return value;
}

int Fill(const std::string& from, const std::string& to, int64_t records) {
  const process::RealClock clock;
  std::vector<v1::Segment> run;
  {
    const auto source = Open(from, clock);
    for (const v1::Job& job : Need(source->ListJobs("", {}, "", 100)).jobs) {
      std::vector<v1::Segment> entries = Entries(*source, job.id());
      if (entries.size() > run.size()) run = std::move(entries);
    }
  }
  const int64_t iterations = Last(run, v1::Column::ITERATION), steps = Last(run, v1::Column::STEP);
  const int64_t nanos = Last(run, v1::Column::TIME_UNIX_NANOS) - Last(run, v1::Column::TIME_UNIX_NANOS, true);
  if (iterations == 0) Fail("there is no run with records");

  const auto store = Open(to, clock);
  v1::Job job;
  job.set_id(kJob);
  job.set_tenant("default");
  job.set_name("long");
  job.set_state(v1::Job::SUCCEEDED);  // of the store alone: no scheduler is to see to it
  job.set_etag("1");
  Changes made;
  made.PutJob(job, "", {});
  if (!store->Commit(made).ok()) Fail("the job is not stored");

  GroupCommit writer(*store,
                     [] {
                       return std::make_unique<Scheduler>(
                           SchedulerOptions{},
                           IdSource{[](auto) { return std::string(kJob); }, [] { return std::string(16, 't'); }});
                     },
                     clock, {});
  if (!writer.Start().ok()) Fail("the writer does not start");
  TelemetryCompactor compactor(*store, clock, {.pause = std::chrono::milliseconds(0)});
  Clock::duration compacting{0};
  const auto compact = [&] {
    const Clock::time_point began = Clock::now();
    if (!compactor.CompactOnce(writer).ok()) Fail("the job is not compacted");
    compacting += Clock::now() - began;
  };
  int64_t next = 1, attempt_next = 1, written = 0, compacted = 0, events = 0, largest = 0;
  for (int64_t lap = 0; written < records; ++lap) {
    for (const v1::Segment& entry : run) {
      if (written >= records) break;
      Changes changes;
      v1::Segment segment = entry;
      if (segment.has_records() && segment.count() > records - written) {
        segment = FirstRows(segment, static_cast<int32_t>(records - written));
      }
      segment.set_first_sequence(next);
      if (segment.attempt() > 0) segment.set_first_attempt_sequence(attempt_next);
      next += segment.count();
      if (segment.attempt() > 0) attempt_next += segment.count();
      if (segment.has_records()) {
        written += segment.count();
        const auto move_on = [&](v1::Column::Standard standard, int64_t by) {
          v1::Column* column = Find(segment, standard);
          if (column == nullptr) return;
          for (int64_t& value : *column->mutable_integers()->mutable_values()) value += lap * by;
        };
        move_on(v1::Column::ITERATION, iterations);
        move_on(v1::Column::STEP, steps);
        move_on(v1::Column::TIME_UNIX_NANOS, nanos);
      }
      events += segment.has_event();
      changes.telemetry.push_back({kJob, std::move(segment)});
      if (!store->Commit(changes).ok()) Fail("an entry is not stored");
      compactor.OnCommitted(changes);
      // As a server does beside it, though by turns: each time that there is enough for a chunk.
      if (written - compacted < 4'096) continue;
      compact();
      compacted = written;
    }
    largest = std::max(largest, DatabaseBytes(to));
  }
  Changes ended;
  v1::Segment end;
  end.set_first_sequence(next);
  end.set_count(1);
  end.mutable_event()->set_severity(v1::JobEvent::INFO);
  ended.telemetry.push_back({kJob, end});
  if (!store->Commit(ended).ok()) Fail("the end is not stored");
  ended.PutJob(job, "1", {});
  compactor.OnCommitted(ended);
  compact();
  writer.Stop();
  std::printf(
      "{\"job\": \"%s\", \"records\": %lld, \"events\": %lld, \"run_iterations\": %lld, \"compact_s\": %.3f, "
      "\"largest_bytes\": %lld}\n",
      kJob, static_cast<long long>(written), static_cast<long long>(events), static_cast<long long>(iterations),
      std::chrono::duration<double>(compacting).count(), static_cast<long long>(largest));
  return 0;
}

std::unique_ptr<v1::JobService::Stub> Connect(const std::string& address) {
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30))) Fail("no server");
  return v1::JobService::NewStub(channel);
}

struct Seen {
  int64_t rows = 0, records = 0, bytes = 0;
  double first_s = 0;
  Clock::time_point began = Clock::now();

  void Take(const v1::Segment& segment) {
    if (!segment.has_records()) return;
    if (rows == 0) first_s = Since(began);
    rows += segment.count();
    int64_t stands_for = segment.count();
    for (const v1::Column& column : segment.records().columns()) {
      if (column.standard() != v1::Column::RECORDS) continue;
      stands_for = 0;
      for (const int64_t count : column.integers().values()) stands_for += count;
    }
    records += stands_for;
  }
  void Print() const {
    std::printf("{\"first_s\": %.6f, \"whole_s\": %.6f, \"rows\": %lld, \"records\": %lld, \"bytes\": %lld}\n", first_s,
                Since(began), static_cast<long long>(rows), static_cast<long long>(records),
                static_cast<long long>(bytes));
  }
};

int Watch(const std::string& address, const std::string& job, int points) {
  const auto stub = Connect(address);
  v1::WatchJobRequest request;
  request.set_job_id(job);
  request.set_replay_only(true);
  request.set_max_points(points);
  grpc::ClientContext context;
  Seen seen;
  const auto stream = stub->WatchJob(&context, request);
  v1::WatchJobResponse frame;
  while (stream->Read(&frame)) {
    seen.bytes += static_cast<int64_t>(frame.ByteSizeLong());
    for (const v1::Segment& segment : frame.segments()) seen.Take(segment);
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) Fail(status.error_message());
  seen.Print();
  return 0;
}

int QueryPoints(const std::string& address, const std::string& job, int points) {
  const auto stub = Connect(address);
  v1::QueryHistoryRequest request;
  request.set_job_id(job);
  request.set_max_points(points);
  request.set_page_size(65'536);
  Seen seen;
  do {
    grpc::ClientContext context;
    v1::QueryHistoryResponse page;
    const grpc::Status status = stub->QueryHistory(&context, request, &page);
    if (!status.ok()) Fail(status.error_message());
    seen.bytes += static_cast<int64_t>(page.ByteSizeLong());
    for (const v1::Segment& segment : page.segments()) seen.Take(segment);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  seen.Print();
  return 0;
}

int Floor(const std::string& folder, const std::string& job) {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_open((folder + "/mantissa.db").c_str(), &database) != SQLITE_OK) Fail("the database does not open");
  const Clock::time_point began = Clock::now();
  sqlite3_prepare_v2(database, "SELECT segments FROM telemetry WHERE job_id = ? ORDER BY first_sequence", -1,
                     &statement, nullptr);
  sqlite3_bind_text(statement, 1, job.data(), static_cast<int>(job.size()), SQLITE_STATIC);
  int64_t bytes = 0, rows = 0;
  while (sqlite3_step(statement) == SQLITE_ROW) {
    const std::string row(static_cast<const char*>(sqlite3_column_blob(statement, 0)),
                          static_cast<size_t>(sqlite3_column_bytes(statement, 0)));
    bytes += static_cast<int64_t>(row.size());
    ++rows;
  }
  const double whole = Since(began);
  sqlite3_finalize(statement);
  sqlite3_close(database);
  std::printf("{\"whole_s\": %.6f, \"bytes\": %lld, \"rows\": %lld, \"pages_bytes\": %lld, \"free_bytes\": %lld}\n",
              whole, static_cast<long long>(bytes), static_cast<long long>(rows),
              static_cast<long long>(Pragma(folder, "PRAGMA page_count") * Pragma(folder, "PRAGMA page_size")),
              static_cast<long long>(Pragma(folder, "PRAGMA freelist_count") * Pragma(folder, "PRAGMA page_size")));
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (words.size() == 4 && words[0] == "fill") return Fill(words[1], words[2], std::atoll(words[3].c_str()));
  if (words.size() == 4 && words[0] == "watch") return Watch(words[1], words[2], std::atoi(words[3].c_str()));
  if (words.size() == 4 && words[0] == "query") return QueryPoints(words[1], words[2], std::atoi(words[3].c_str()));
  if (words.size() == 3 && words[0] == "floor") return Floor(words[1], words[2]);
  Fail("see the comment at the top of its source");
}
