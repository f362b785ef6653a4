#include "server/store/sqlite_store.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"
#include "server/store/migrations.h"
#include "server/store/sqlite_reader.h"

namespace mantissa::server {
namespace {

absl::Status FileError(const char* what) {
  return absl::FailedPreconditionError(absl::StrCat("store: ", what, ": ", std::strerror(errno)));
}

absl::StatusOr<process::FileDescriptor> LockOut(const std::string& path) {
  process::FileDescriptor lock(::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return FileError("the lock file cannot be opened");
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError("the lock file cannot be locked");
    return absl::FailedPreconditionError(
        "store: another server has this database open; stop it, or give this one a data folder of its own");
  }
  return lock;
}

absl::Status ConfigureWriter(SqliteConnection& connection, const SqliteStoreOptions& options) {
  absl::Status status = connection.Execute(absl::StrCat("PRAGMA busy_timeout = ", options.busy_timeout.count()));
  if (!status.ok()) return status;
  {
    auto mode = connection.Prepare("PRAGMA journal_mode = WAL");
    if (!mode.ok()) return mode.status();
    auto row = mode->Step();
    if (!row.ok()) return row.status();
    if (!*row || mode->Bytes(0) != "wal") {
      return absl::FailedPreconditionError("store: this filesystem cannot keep a write-ahead log (journal_mode=WAL)");
    }
  }
  return connection.Execute(
      "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;"
      "PRAGMA journal_size_limit = 67108864");
}

}  // namespace

bool IsNetworkFilesystem(int64_t statfs_type) {
  switch (static_cast<uint32_t>(statfs_type)) {
    case 0x6969:      // nfs
    case 0x517b:      // smb
    case 0xff534d42:  // cifs
    case 0xfe534d42:  // smb2
    case 0x5346414f:  // afs
    case 0x6b414653:  // kafs
    case 0x00c36400:  // ceph
    case 0x0bd00bd0:  // lustre
    case 0x47504653:  // gpfs
    case 0x01021997:  // 9p
    case 0x564c:      // ncp
    case 0x73757245:  // coda
      return true;
    default:
      return false;
  }
}

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path, const process::Clock& clock,
                                                               SqliteStoreOptions options) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  struct statfs filesystem {};
  if (::statfs(folder.empty() ? "." : folder.c_str(), &filesystem) != 0) {
    return FileError("the folder of the database cannot be used");
  }
  if (IsNetworkFilesystem(filesystem.f_type)) {
    return absl::FailedPreconditionError(
        "store: the database is on a network filesystem, whose locks and syncs are not reliable; put it on a local "
        "disk");
  }
  std::unique_ptr<SqliteStore> store(new SqliteStore(clock, options));
  auto lock = LockOut(path);
  if (!lock.ok()) return lock.status();
  store->lock_ = std::move(*lock);
  {
    // It holds the leases' tokens: for its owner only, whatever the umask.
    process::FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file.valid()) return FileError("the database cannot be opened");
  }
  auto writer = SqliteConnection::Open(path, SqliteConnection::Mode::kReadWriteCreate);
  if (!writer.ok()) return writer.status();
  store->writer_ = std::move(*writer);
  absl::Status status = ConfigureWriter(*store->writer_, options);
  if (status.ok()) status = Migrate(*store->writer_);
  if (!status.ok()) return status;

  process::MutexLock held(store->mutex_);
  for (int i = 0; i < options.read_connections; ++i) {
    auto reader = SqliteConnection::Open(path, SqliteConnection::Mode::kReadOnly);
    if (!reader.ok()) return reader.status();
    status = (*reader)->Execute(absl::StrCat("PRAGMA busy_timeout = ", options.busy_timeout.count()));
    if (!status.ok()) return status;
    store->idle_readers_.push_back(std::move(*reader));
  }
  return store;
}

// Readers first: the last connection to close folds the log into the file.
SqliteStore::~SqliteStore() {
  process::MutexLock held(mutex_);
  idle_readers_.clear();
}

absl::StatusOr<SqliteStore::Reader> SqliteStore::Read() {
  process::MutexLock held(mutex_);
  while (idle_readers_.empty()) reader_back_.Wait(mutex_);
  Reader reader(*this, std::move(idle_readers_.back()));
  idle_readers_.pop_back();
  return reader;
}

SqliteStore::Reader::~Reader() {
  if (connection_ == nullptr) return;
  connection_->ForgetStatements(store_.options_.kept_statements);
  process::MutexLock held(store_.mutex_);
  store_.idle_readers_.push_back(std::move(connection_));
  store_.reader_back_.NotifyOne();
}

absl::Status SqliteStore::Commit(const Changes& changes) {
  absl::Status status = MANTISSA_FAILPOINT_STATUS("store.before_begin");
  if (!status.ok()) return status;
  status = writer_->Execute("BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  MANTISSA_FAILPOINT("store.after_begin");
  status = WriteAll(changes);
  if (status.ok()) status = MANTISSA_FAILPOINT_STATUS("store.before_commit");
  if (status.ok()) status = writer_->Execute("COMMIT");
  if (status.ok()) {
    MANTISSA_FAILPOINT("store.after_commit");
    return status;
  }
  // An error may have ended the transaction already; then this says so, and that is as good.
  writer_->Execute("ROLLBACK").IgnoreError();
  if (absl::IsUnknown(status)) suspect_ = true;
  return status;
}

absl::StatusOr<int64_t> SqliteStore::BeginEpoch() {
  auto statement = writer_->Prepare("UPDATE server SET epoch = epoch + 1 RETURNING epoch");
  if (!statement.ok()) return statement.status();
  auto row = statement->Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::DataLossError("store: the table `server` has no row");
  const int64_t epoch = statement->Integer(0);
  // The update is committed when the statement has run to its end.
  row = statement->Step();
  if (!row.ok()) return row.status();
  MANTISSA_FAILPOINT("store.after_epoch");
  return epoch;
}

absl::StatusOr<int32_t> SqliteStore::SchemaVersion() {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  return server::SchemaVersion(reader->connection());
}

}  // namespace mantissa::server
