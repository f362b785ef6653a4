#include "server/store/sqlite.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"

namespace mantissa::server {

absl::Status SqliteError(int code, std::string_view what) {
  const std::string message =
      absl::StrCat("store: ", absl::string_view(what.data(), what.size()), ": ", sqlite3_errstr(code), " (", code, ")");
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CONSTRAINT:
      return absl::AbortedError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_IOERR:
      return absl::UnknownError(message);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return absl::FailedPreconditionError(message);
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

SqliteStatement::~SqliteStatement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteStatement& SqliteStatement::Bind(int64_t value) {
  const int code = sqlite3_bind_int64(statement_, next_parameter_++, value);
  if (code != SQLITE_OK) bind_error_ = code;
  return *this;
}

SqliteStatement& SqliteStatement::Bind(std::string_view text) {
  const int code = sqlite3_bind_text64(statement_, next_parameter_++, text.data() == nullptr ? "" : text.data(),
                                       text.size(), SQLITE_STATIC, SQLITE_UTF8);
  if (code != SQLITE_OK) bind_error_ = code;
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(std::string_view bytes) {
  // A null pointer would bind NULL, and an empty blob is not NULL.
  const int code = sqlite3_bind_blob64(statement_, next_parameter_++, bytes.data() == nullptr ? "" : bytes.data(),
                                       bytes.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) bind_error_ = code;
  return *this;
}

absl::StatusOr<bool> SqliteStatement::Step() {
  if (bind_error_ != 0) return SqliteError(bind_error_, "bind");
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteError(sqlite3_extended_errcode(sqlite3_db_handle(statement_)), "statement");
}

absl::Status SqliteStatement::Run() {
  absl::StatusOr<bool> row = Step();
  return row.ok() ? absl::OkStatus() : row.status();
}

int64_t SqliteStatement::Integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string_view SqliteStatement::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return size == 0 ? std::string_view() : std::string_view(static_cast<const char*>(bytes), size);
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path, Mode mode) {
  const int flags = mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(database));
  if (code != SQLITE_OK) return SqliteError(code, "open");
  sqlite3_extended_result_codes(database, 1);
  return connection;
}

SqliteConnection::~SqliteConnection() {
  ForgetStatements(0);
  sqlite3_close(database_);
}

void SqliteConnection::ForgetStatements(size_t beyond) {
  if (statements_.size() <= beyond) return;
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  statements_.clear();
}

absl::Status SqliteConnection::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code == SQLITE_OK) return absl::OkStatus();
  return SqliteError(code, absl::StrCat("\"", sql.substr(0, 60), "\": ", sqlite3_errmsg(database_)));
}

absl::StatusOr<SqliteStatement> SqliteConnection::Prepare(std::string_view sql) {
  auto known = statements_.find(sql);
  if (known == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                        &statement, nullptr);
    if (code != SQLITE_OK) return SqliteError(code, sqlite3_errmsg(database_));
    known = statements_.emplace(std::string(sql), statement).first;
  }
  return SqliteStatement(known->second);
}

int64_t SqliteConnection::changes() const { return sqlite3_changes64(database_); }

}  // namespace mantissa::server
