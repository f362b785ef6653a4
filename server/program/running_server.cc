#include "server/program/running_server.h"

#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include "grpcpp/grpcpp.h"

#include "process/ids.h"
#include "process/log.h"
#include "process/mutex.h"
#include "process/process_figures.h"
#include "server/core/scheduler.h"
#include "server/metrics/job_metrics.h"
#include "server/metrics/metrics_page.h"
#include "server/metrics/rpc_metrics.h"
#include "server/metrics/server_metrics.h"
#include "server/program/data_folder.h"
#include "server/program/job_log.h"
#include "server/program/lock_keeper.h"
#include "server/program/metrics_endpoint.h"
#include "server/program/scheduler_options.h"
#include "server/rpc/access/access.h"
#include "server/rpc/access/credential_watch.h"
#include "server/rpc/access/flood_guard.h"
#include "server/rpc/access/memory_bound.h"
#include "server/rpc/backend.h"
#include "server/rpc/commit_wakes.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/health_endpoint.h"
#include "server/rpc/listen_address.h"
#include "server/rpc/standby_server.h"
#include "server/store/active_lock.h"
#include "server/store/blob_files.h"
#include "server/store/group_commit.h"
#include "server/store/job_sweeper.h"
#include "server/store/postgres_store.h"
#include "server/store/sqlite_store.h"
#include "server/store/telemetry_compactor.h"
#include "server/telemetry/jobs_feed.h"
#include "server/telemetry/telemetry_hub.h"

#ifndef MANTISSA_VERSION
#error "MANTISSA_VERSION comes from the build"
#endif

namespace mantissa::server {
namespace {

// Beyond it, calls of a tenant that calls too often are refused as they arrive (Note [Shedding]). What has been let in
// before that still grows: a flood of one tenant may cost 512 MiB in all.
constexpr std::int64_t kMostResidentBytes = std::int64_t{192} << 20;

}  // namespace

// In the order in which they are made; each uses only what stands above it, and they go in the opposite order.
struct RunningServer::Parts {
  Parts(const ServerOptions& options, const process::Clock& clock) : options(options), clock(clock) {}

  absl::Status OpenMetrics();
  absl::Status OpenHealth();
  absl::Status OpenAccess();
  absl::Status OpenStore();
  // Serves only health and refusals until the lock of the active server is ours, then all of it; on threads of its own.
  absl::Status StandBy();
  absl::Status TakeOver();
  // Nothing can be done about it in this process.
  [[noreturn]] static void End(const std::string& what, const absl::Status& why, const std::string& remedy);
  absl::Status StartCommits();
  absl::Status StartServing();
  // Of whatever serves at `address` from now on: what a server before it counted says nothing of it.
  void GuardPorts();
  absl::StatusOr<int> SeedJobMetrics();
  void AfterTransaction(const TransactionReport& report);
  std::string DatabaseFile() const { return options.data_dir + "/mantissa.db"; }

  const ServerOptions options;
  const process::Clock& clock;
  process::UlidSource ulids;
  ServerMetrics metrics;
  RpcMetrics rpc_metrics{metrics};
  std::unique_ptr<ActiveLock> lock;  // where others may want to be active
  std::unique_ptr<JobStore> store;
  std::unique_ptr<BlobFiles> blobs;
  ServerIdentity identity;
  TelemetryHub telemetry;
  JobsFeed jobs_feed;
  WakeSignal log_signal;
  WakeSignal worker_signal;
  CommitWakes commit_wakes{worker_signal, log_signal};
  JobMetrics job_metrics{metrics};
  JobLog job_log;
  OpenCalls open_calls;
  BlockingPool pool;
  std::unique_ptr<JobSweeper> sweeper;
  std::unique_ptr<TelemetryCompactor> compactor;
  std::unique_ptr<GroupCommit> commit;
  std::shared_ptr<TokenTable> tokens;  // null where none are taken
  std::unique_ptr<CredentialWatch> credential_watch;
  MemoryBound transport_memory{process::ResidentBytes, kMostResidentBytes};
  std::unique_ptr<Access> access;
  std::unique_ptr<Backend> backend;
  std::shared_ptr<MetricsPage> metrics_page;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint;
  std::unique_ptr<HealthEndpoint> health;
  std::unique_ptr<GrpcServer> grpc;
  std::unique_ptr<FloodGuard> flood_guard;

  std::string address, metrics_address;  // as bound
  std::unique_ptr<StandbyServer> standby;
  std::thread takes_over;
  std::unique_ptr<LockKeeper> lock_keeper;  // while anything is left that needs the lock
  mutable process::Mutex mutex;
  bool serving ABSL_GUARDED_BY(mutex) = false;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
};

absl::Status RunningServer::Parts::OpenStore() {
  absl::Status status = MakeDataFolder(options.data_dir);
  if (!status.ok()) return status;
  if (lock) {
    auto opened = PostgresStore::Open(options.postgres, *lock, clock);
    if (!opened.ok()) return opened.status();
    store = *std::move(opened);
    identity.store = "postgresql";
  } else {
    auto opened = SqliteStore::Open(DatabaseFile(), clock);
    if (!opened.ok()) return opened.status();
    store = *std::move(opened);
  }
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
      job_log.Seed(job);
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
  const SchedulerOptions scheduler_options = SchedulerOptionsOf(options, identity.epoch);
  const IdSource ids{[this](process::WallTime now) { return ulids.Next(now); }, [] { return process::RandomToken(); }};
  // Entries reach the ring before anybody is woken to look for them.
  sweeper = std::make_unique<JobSweeper>(
      *store, *blobs, clock,
      JobSweeperOptions{.keep_for = options.retention_time, .keep_jobs = options.retention_jobs});
  compactor = std::make_unique<TelemetryCompactor>(
      *store, clock, TelemetryCompactorOptions{.full_records = options.telemetry_full_records});
  const std::vector<CommitListener*> listeners = {&telemetry,    &jobs_feed,    &job_metrics,   &job_log,
                                                  &commit_wakes, sweeper.get(), compactor.get()};
  commit = std::make_unique<GroupCommit>(
      *store, [scheduler_options, ids] { return std::make_unique<Scheduler>(scheduler_options, ids); }, clock,
      listeners,
      GroupCommitOptions{.on_given_up =
                             [](const absl::Status& why) {
                               End("the store stays unreadable after a failed commit", why,
                                   "mend the database or its disk, then start the server again");
                             },
                         .on_transaction = [this](const TransactionReport& report) { AfterTransaction(report); }});
  const absl::Status started = commit->Start();
  if (started.ok()) sweeper->Start(*commit);
  if (started.ok()) compactor->Start(*commit);
  return started;
}

void RunningServer::Parts::AfterTransaction(const TransactionReport& report) {
  metrics.store_read_only.Set(report.read_only ? 1 : 0);
  if (report.status.ok()) {
    metrics.store_commit_seconds.Observe(std::chrono::duration<double>(report.took).count());
    metrics.store_commit_commands.Observe(static_cast<double>(report.commands));
    return;
  }
  metrics.store_commit_failures.Increment();
  if (!absl::IsUnknown(report.status)) return;  // nothing has happened, and nobody was told that it had
  // The outcome may be unknown, and then nobody heard of what was stored after all: who follows has to look anew.
  pool.Post("", [this] {
    open_calls.EndAll(absl::UnavailableError("the server could not store something and reads its state again"));
  });
}

absl::Status RunningServer::Parts::OpenMetrics() {
  metrics.build_info.Add({{"version", MANTISSA_VERSION}, {"grpc", grpc::Version()}}).Set(1);
  metrics_page = std::make_shared<MetricsPage>(metrics, clock);
  if (options.metrics_listen.empty()) return absl::OkStatus();
  const absl::StatusOr<ListenAddress> listen = ParseListenAddress(options.metrics_listen);
  if (!listen.ok()) return listen.status();
  auto started = MetricsEndpoint::Start(*listen, metrics_page);
  if (!started.ok()) return started.status();
  metrics_endpoint = *std::move(started);
  metrics_address = metrics_endpoint->address();
  return absl::OkStatus();
}

absl::Status RunningServer::Parts::OpenHealth() {
  if (options.health_listen.empty()) return absl::OkStatus();
  auto started = HealthEndpoint::Start(options.health_listen);
  if (!started.ok()) return started.status();
  health = *std::move(started);
  return absl::OkStatus();
}

absl::Status RunningServer::Parts::OpenAccess() {
  const process::TlsFiles tls = TlsFilesOf(options);
  const absl::StatusOr<process::TlsPems> pems = process::ReadTlsFiles(tls, clock.WallNow());
  if (!pems.ok()) return absl::InvalidArgumentError(pems.status().message());
  if (!options.tokens.empty()) {
    tokens = std::make_shared<TokenTable>(options.tokens);
    const absl::Status loaded = tokens->Load();
    if (!loaded.ok()) return absl::InvalidArgumentError(loaded.message());
  }
  if (!tls.certificate.empty()) credential_watch = std::make_unique<CredentialWatch>(tls, tokens, clock, metrics);
  access = std::make_unique<Access>(
      Authenticates(options), tokens,
      TenantLimitOptions{.calls_per_second = static_cast<double>(options.tenant_calls_per_second),
                         .streams = options.tenant_max_streams},
      transport_memory, metrics);
  return absl::OkStatus();
}

absl::Status RunningServer::Parts::StartServing() {
  backend.reset(new Backend{*store, *commit, *blobs, telemetry, jobs_feed, log_signal, worker_signal, pool, open_calls,
                            metrics, rpc_metrics, *access, clock});
  if (lock) backend->is_active = [this] { return lock->IsFresh(); };
  GrpcServerOptions grpc_options;
  grpc_options.listen = address.empty() ? options.listen : address;
  grpc_options.tls = TlsFilesOf(options);
  grpc_options.authenticates = Authenticates(options);
  auto started = GrpcServer::Start(grpc_options, *backend, identity);
  if (!started.ok()) return started.status();
  grpc = *std::move(started);
  if (address.empty()) address = grpc->address();
  GuardPorts();
  metrics.active.Set(1);
  if (health) health->SetReady(true);
  metrics_page->Serve({*commit, job_metrics, lock ? "" : DatabaseFile() + "-wal"});
  process::MutexLock held(mutex);
  serving = true;
  return absl::OkStatus();
}

void RunningServer::Parts::GuardPorts() {
  std::vector<int> ports = {ParseListenAddress(address)->port};
  if (health) ports.push_back(ParseListenAddress(health->address())->port);
  flood_guard = std::make_unique<FloodGuard>(ports, clock, metrics);
}

// Note [Standing by]
//
// Whoever has the session lock is the active server; the others answer that they are not, and wait for it. The active
// one shows every second that it is there. When it can't, because it was stopped or cut off, PostgreSQL takes the lock
// from it, and it ends at the first thing it does after that: what it has in memory may be of yesterday, a process that
// is started anew has nothing to unlearn, and whoever starts it again makes it the next standby. Until it has ended, it
// answers nobody, and the epoch keeps it from writing (Note [Epoch fencing]).
absl::Status RunningServer::Parts::StandBy() {
  lock = std::make_unique<ActiveLock>(options.postgres);
  auto started = StandbyServer::Start(options.listen, TlsFilesOf(options));
  if (!started.ok()) return started.status();
  standby = *std::move(started);
  address = standby->address();
  GuardPorts();
  takes_over = std::thread([this] {
    const absl::Status status = TakeOver();
    process::MutexLock held(mutex);
    if (!status.ok() && !stopping) End("this server can't become the active one", status, "see --postgres");
  });
  return absl::OkStatus();
}

absl::Status RunningServer::Parts::TakeOver() {
  absl::StatusOr<bool> ours = lock->TryAcquire();
  if (!ours.ok() && !absl::IsUnavailable(ours.status())) return ours.status();
  if (!ours.ok() || !*ours) {
    process::Log(process::Level::kInfo, "standing by: another server is the active one, or PostgreSQL is away");
    const absl::Status acquired = lock->Acquire();
    if (!acquired.ok()) return acquired;
  }
  lock_keeper = std::make_unique<LockKeeper>(*lock, [](const absl::Status& why) {
    End("another server may be the active one now", why, "start this one again, and it stands by");
  });
  absl::Status status = OpenStore();
  if (status.ok()) status = StartCommits();
  if (!status.ok()) return status;
  standby.reset();  // gives the address up
  status = StartServing();
  if (status.ok()) {
    process::Log(process::Level::kInfo, "this is the active server now",
                 {{"epoch", identity.epoch}, {"address", address}});
  }
  return status;
}

void RunningServer::Parts::End(const std::string& what, const absl::Status& why, const std::string& remedy) {
  // Crash-only: whoever serves next reads what is durable, and clients repeat what they asked for.
  process::Log(process::Level::kError, what + "; ending", {{"error", why}, {"remedy", remedy}});
  std::_Exit(1);
}

RunningServer::RunningServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RunningServer::~RunningServer() { Drain(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<RunningServer>> RunningServer::Start(const ServerOptions& options,
                                                                    const process::Clock& clock) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  std::unique_ptr<RunningServer> server(new RunningServer(std::make_unique<Parts>(options, clock)));
  status = server->parts_->OpenAccess();
  if (status.ok()) status = server->parts_->OpenMetrics();
  if (status.ok()) status = server->parts_->OpenHealth();
  if (!status.ok()) return status;
  if (!options.postgres.empty()) {
    status = server->parts_->StandBy();
    if (!status.ok()) return status;
    return server;
  }
  status = server->parts_->OpenStore();
  if (status.ok()) status = server->parts_->StartCommits();
  if (status.ok()) status = server->parts_->StartServing();
  if (!status.ok()) return status;
  return server;
}

const std::string& RunningServer::address() const { return parts_->address; }

const std::string& RunningServer::metrics_address() const { return parts_->metrics_address; }

std::string RunningServer::health_address() const { return parts_->health ? parts_->health->address() : ""; }

bool RunningServer::serving() const {
  process::MutexLock held(parts_->mutex);
  return parts_->serving;
}

void RunningServer::Drain(std::chrono::milliseconds grace) {
  Parts& parts = *parts_;
  {
    process::MutexLock held(parts.mutex);
    parts.stopping = true;
  }
  if (parts.lock) parts.lock->Cancel();
  if (parts.takes_over.joinable()) parts.takes_over.join();
  parts.standby.reset();
  if (parts.health) parts.health->SetReady(false);
  if (parts.grpc) parts.grpc->Drain(grace);
  parts.grpc.reset();
  if (parts.sweeper) parts.sweeper->Stop();
  if (parts.compactor) parts.compactor->Stop();
  if (parts.commit) parts.commit->Stop();
  parts.lock_keeper.reset();
}

}  // namespace mantissa::server
