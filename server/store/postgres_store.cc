#include "server/store/postgres_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"
#include "process/log.h"
#include "server/store/postgres_migrations.h"
#include "server/store/postgres_reader.h"

namespace mantissa::server {
namespace {

absl::Status CheckDatabase(PostgresConnection& connection) {
  auto settings =
      connection.Query(PostgresStatement("SELECT current_setting('server_encoding'), current_setting('fsync')"));
  if (!settings.ok()) return settings.status();
  if (settings->Bytes(0, 0) != "UTF8") {
    return absl::FailedPreconditionError(
        "store: the database is not in UTF-8; create one with ENCODING 'UTF8' TEMPLATE template0");
  }
  // Not refused: services that keep the log elsewhere say this, too.
  if (settings->Bytes(0, 1) == "off") {
    process::Log(process::Level::kWarning,
                 "PostgreSQL runs with fsync = off: a crash of its machine may lose what this server has acknowledged");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresStore>> PostgresStore::Open(const std::string& conninfo, ActiveLock& lock,
                                                                   const process::Clock& clock,
                                                                   PostgresStoreOptions options) {
  // Without it a standby of a newer version would change the schema under the active server.
  if (!lock.IsFresh()) {
    return absl::FailedPreconditionError(
        "store: only the server that holds the lock of the active one opens the store");
  }
  std::unique_ptr<PostgresStore> store(new PostgresStore(conninfo, lock, clock, options));
  // A migration may take as long as it must.
  auto migrating = store->Connect(std::chrono::hours(24));
  if (!migrating.ok()) return migrating.status();
  absl::Status status = CheckDatabase(**migrating);
  if (status.ok()) status = Migrate(**migrating);
  if (!status.ok()) return status;

  process::MutexLock held(store->mutex_);
  store->idle_readers_.resize(static_cast<size_t>(options.read_connections));  // each opens when it is first used
  return store;
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresStore::Connect(
    std::chrono::milliseconds reply_timeout) const {
  PostgresOptions options;
  options.lock_timeout = options_.lock_timeout;
  options.reply_timeout = reply_timeout;
  return PostgresConnection::Open(conninfo_, options);
}

absl::StatusOr<PostgresConnection*> PostgresStore::Writer() {
  if (writer_ == nullptr || !writer_->Alive()) {
    writer_.reset();
    auto opened = Connect(options_.reply_timeout);
    if (!opened.ok()) return opened.status();
    writer_ = *std::move(opened);
  }
  return writer_.get();
}

PostgresStore::Reader PostgresStore::Read() {
  process::MutexLock held(mutex_);
  while (idle_readers_.empty()) reader_back_.Wait(mutex_);
  std::unique_ptr<PostgresConnection> connection = std::move(idle_readers_.back());
  idle_readers_.pop_back();
  return Reader(*this, std::move(connection));
}

PostgresStore::Reader::~Reader() {
  if (store_ == nullptr) return;
  process::MutexLock held(store_->mutex_);
  store_->idle_readers_.push_back(std::move(connection_));
  store_->reader_back_.NotifyOne();
}

absl::StatusOr<PostgresConnection*> PostgresStore::Reader::Connection() {
  if (connection_ == nullptr || !connection_->Alive()) {
    connection_.reset();
    auto opened = store_->Connect(store_->options_.reply_timeout);
    if (!opened.ok()) return opened.status();
    connection_ = *std::move(opened);
  }
  return connection_.get();
}

absl::StatusOr<PostgresRows> PostgresStore::Reader::Try(Ask ask, const PostgresStatement& statement) {
  constexpr int kTries = 2;
  for (int tried = 1;; ++tried) {
    auto connection = Connection();
    if (!connection.ok()) return connection.status();
    auto rows = ((*connection)->*ask)(statement);
    if (rows.ok()) return rows;
    if (absl::IsInvalidArgument(rows.status())) return PostgresRows(nullptr);
    if (tried == kTries || (*connection)->Alive()) return rows;
  }
}

absl::StatusOr<PostgresRows> PostgresStore::Reader::Query(const PostgresStatement& statement) {
  return Try(&PostgresConnection::Query, statement);
}

absl::StatusOr<PostgresRows> PostgresStore::Reader::QueryOnce(const PostgresStatement& statement) {
  return Try(&PostgresConnection::QueryOnce, statement);
}

absl::Status PostgresStore::Commit(const Changes& changes) {
  absl::Status status = MANTISSA_FAILPOINT_STATUS("store.before_begin");
  if (!status.ok()) return status;
  if (epoch_ == 0) return absl::FailedPreconditionError("store: this server has begun no epoch");
  auto statements = Statements(changes);
  if (!statements.ok()) return statements.status();
  auto writer = Writer();
  if (!writer.ok()) return writer.status();
  status = (*writer)->RunTransaction(*statements);
  if (status.ok()) MANTISSA_FAILPOINT("store.after_commit");
  if (absl::IsUnknown(status)) suspect_ = true;
  // What is left of a transaction ends with its connection, not with the next commit.
  if (!writer_->Alive()) writer_.reset();
  return status;
}

absl::StatusOr<int64_t> PostgresStore::BeginEpoch() {
  const absl::StatusOr<int64_t> epoch = lock_.BumpEpoch();
  if (!epoch.ok()) return epoch.status();
  epoch_ = *epoch;
  suspect_ = false;
  return epoch;
}

absl::StatusOr<int32_t> PostgresStore::SchemaVersion() {
  Reader reader = Read();
  auto connection = reader.Connection();
  if (!connection.ok()) return connection.status();
  return server::SchemaVersion(**connection);
}

}  // namespace mantissa::server
