#include "server/program/running_server.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "process/file_descriptor.h"
#include "process/ids.h"
#include "process/log.h"
#include "server/core/scheduler.h"
#include "server/metrics/job_metrics.h"
#include "server/metrics/rpc_metrics.h"
#include "server/metrics/server_metrics.h"
#include "server/program/metrics_endpoint.h"
#include "server/rpc/backend.h"
#include "server/rpc/commit_wakes.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/listen_address.h"
#include "server/store/blob_files.h"
#include "server/store/group_commit.h"
#include "server/store/job_sweeper.h"
#include "server/store/sqlite_store.h"
#include "server/telemetry/telemetry_hub.h"

#ifndef MANTISSA_VERSION
#error "MANTISSA_VERSION comes from the build"
#endif

namespace mantissa::server {

// In the order in which they are made; each uses only what stands above it, and they go in the opposite order.
struct RunningServer::Parts {
  Parts(const ServerOptions& options, const process::Clock& clock) : options(options), clock(clock) {}

  absl::Status OpenStore();
  absl::Status StartCommits();
  absl::Status StartServing();
  absl::StatusOr<int> SeedJobMetrics();
  void AfterTransaction(const TransactionReport& report);

  const ServerOptions options;
  const process::Clock& clock;
  process::UlidSource ulids;
  ServerMetrics metrics;
  RpcMetrics rpc_metrics{metrics};
  std::unique_ptr<SqliteStore> store;
  std::unique_ptr<BlobFiles> blobs;
  ServerIdentity identity;
  TelemetryHub telemetry;
  WakeSignal log_signal;
  WakeSignal worker_signal;
  CommitWakes commit_wakes{worker_signal, log_signal};
  JobMetrics job_metrics{metrics};
  OpenCalls open_calls;
  BlockingPool pool;
  std::unique_ptr<JobSweeper> sweeper;
  std::unique_ptr<GroupCommit> commit;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint;
  std::unique_ptr<GrpcServer> grpc;
};

namespace {

absl::Status CheckFolder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0750) != 0 && errno != EEXIST) {
    return absl::FailedPreconditionError("--data-dir: " + folder + " can't be made: " + strerrordesc_np(errno));
  }
  const process::FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.valid()) {
    return absl::FailedPreconditionError("--data-dir: " + folder + " can't be opened: " + strerrordesc_np(errno));
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError("--data-dir: " + folder + " can't be written to: " + strerrordesc_np(errno) +
                                         "; choose a folder of the user who runs the server");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunningServer::Parts::OpenStore() {
  absl::Status status = CheckFolder(options.data_dir);
  if (!status.ok()) return status;
  auto opened_store = SqliteStore::Open(options.data_dir + "/mantissa.db", clock);
  if (!opened_store.ok()) return opened_store.status();
  store = *std::move(opened_store);
  auto opened_blobs = BlobFiles::Open(options.data_dir + "/jobs");
  if (!opened_blobs.ok()) return opened_blobs.status();
  blobs = *std::move(opened_blobs);

  const absl::StatusOr<int64_t> epoch = store->BeginEpoch();
  if (!epoch.ok()) return epoch.status();
  const absl::StatusOr<int32_t> schema = store->SchemaVersion();
  if (!schema.ok()) return schema.status();
  identity.epoch = *epoch;
  identity.schema_version = *schema;
  identity.start_time = clock.WallNow();
  return absl::OkStatus();
}

absl::StatusOr<int> RunningServer::Parts::SeedJobMetrics() {
  v1::JobFilter live;
  for (const v1::Job::State state :
       {v1::Job::QUEUED, v1::Job::STARTING, v1::Job::RUNNING, v1::Job::PAUSING, v1::Job::PAUSED, v1::Job::CANCELLING}) {
    live.add_states(state);
  }
  int seeded = 0;
  std::string before;
  for (bool more = true; more;) {
    absl::StatusOr<JobPage> page = store->ListJobs(/*tenant=*/"", live, before, /*limit=*/256);
    if (!page.ok()) return page.status();
    for (const v1::Job& job : page->jobs) {
      job_metrics.Seed(job);
      before = job.id();
      ++seeded;
    }
    more = page->more && !page->jobs.empty();
  }
  return seeded;
}

absl::Status RunningServer::Parts::StartCommits() {
  const absl::StatusOr<int> seeded = SeedJobMetrics();
  if (!seeded.ok()) return seeded.status();
  SchedulerOptions scheduler_options;
  scheduler_options.lease = options.lease;
  scheduler_options.next_call = options.next_call;
  scheduler_options.disconnect_grace = options.disconnect_grace;
  scheduler_options.max_queued_jobs = static_cast<int32_t>(options.max_queued_jobs);
  scheduler_options.priority_worth = options.priority_worth;
  scheduler_options.reserve_after = options.reserve_after;
  if (options.preempting_priority <= 1'000) {
    scheduler_options.preempting_priority = static_cast<int32_t>(options.preempting_priority);
  }
  scheduler_options.epoch = identity.epoch;
  const IdSource ids{[this](process::WallTime now) { return ulids.Next(now); }, [] { return process::RandomToken(); }};
  // Entries reach the ring before anybody is woken to look for them.
  sweeper = std::make_unique<JobSweeper>(
      *store, *blobs, clock,
      JobSweeperOptions{.keep_for = options.retention_time, .keep_jobs = options.retention_jobs});
  const std::vector<CommitListener*> listeners = {&telemetry, &job_metrics, &commit_wakes, sweeper.get()};
  commit = std::make_unique<GroupCommit>(
      *store, [scheduler_options, ids] { return std::make_unique<Scheduler>(scheduler_options, ids); }, clock,
      listeners,
      GroupCommitOptions{
          .on_given_up =
              [](const absl::Status& why) {
                // Crash-only: whoever is started next reads what is durable, and clients repeat what they asked for.
                process::Log(process::Level::kError, "the store stays unreadable after a failed commit; ending",
                             {{"error", why}, {"remedy", "mend the disk of --data-dir, then start the server again"}});
                std::_Exit(1);
              },
          .on_transaction = [this](const TransactionReport& report) { AfterTransaction(report); }});
  const absl::Status started = commit->Start();
  if (started.ok()) sweeper->Start(*commit);
  return started;
}

void RunningServer::Parts::AfterTransaction(const TransactionReport& report) {
  if (report.status.ok()) {
    metrics.store_commit_seconds.Observe(std::chrono::duration<double>(report.took).count());
    metrics.store_commit_commands.Observe(static_cast<double>(report.commands));
    return;
  }
  metrics.store_commit_failures.Increment();
  if (!absl::IsUnknown(report.status)) return;  // nothing has happened, and nobody was told that it had
  // The outcome may be unknown, and then nobody heard of what was stored after all: who follows has to look anew.
  pool.Post([this] {
    open_calls.EndAll(absl::UnavailableError("the server could not store something and reads its state again"));
  });
}

absl::Status RunningServer::Parts::StartServing() {
  metrics.build_info.Add({{"version", MANTISSA_VERSION}}).Set(1);
  if (!options.metrics_listen.empty()) {
    const absl::StatusOr<ListenAddress> listen = ParseListenAddress(options.metrics_listen);
    if (!listen.ok()) return listen.status();
    auto started = MetricsEndpoint::Start(*listen, metrics.registry);
    if (!started.ok()) return started.status();
    metrics_endpoint = *std::move(started);
  }
  backend.reset(new Backend{*store, *commit, *blobs, telemetry, log_signal, worker_signal, pool, open_calls, metrics,
                            rpc_metrics, clock});
  GrpcServerOptions grpc_options;
  grpc_options.listen = options.listen;
  auto started = GrpcServer::Start(grpc_options, *backend, identity);
  if (!started.ok()) return started.status();
  grpc = *std::move(started);
  return absl::OkStatus();
}

RunningServer::RunningServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RunningServer::~RunningServer() { Drain(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<RunningServer>> RunningServer::Start(const ServerOptions& options,
                                                                    const process::Clock& clock) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  std::unique_ptr<RunningServer> server(new RunningServer(std::make_unique<Parts>(options, clock)));
  status = server->parts_->OpenStore();
  if (status.ok()) status = server->parts_->StartCommits();
  if (status.ok()) status = server->parts_->StartServing();
  if (!status.ok()) return status;
  return server;
}

const std::string& RunningServer::address() const { return parts_->grpc->address(); }

const std::string& RunningServer::metrics_address() const {
  static const std::string kNone;
  return parts_->metrics_endpoint ? parts_->metrics_endpoint->address() : kNone;
}

void RunningServer::Drain(std::chrono::milliseconds grace) {
  if (parts_->grpc) parts_->grpc->Drain(grace);
  parts_->grpc.reset();
  if (parts_->sweeper) parts_->sweeper->Stop();
  if (parts_->commit) parts_->commit->Stop();
}

}  // namespace mantissa::server
