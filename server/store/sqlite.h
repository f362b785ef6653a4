// SQLite's C API with owners: a connection, a statement, and its errors as statuses.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mantissa::server {

// RESOURCE_EXHAUSTED: the disk is full. UNAVAILABLE: busy or locked. ABORTED: a constraint. DATA_LOSS: the file is
// damaged or no database. UNKNOWN: I/O failed, and what is on the disk is not known. INTERNAL: our own mistake.
absl::Status SqliteError(int code, std::string_view what);

// One execution of a prepared statement, reset when it goes. Parameters count from 1, columns from 0. Texts and blobs
// are not copied when bound: they must live until the execution ends. Not thread-safe.
class SqliteStatement {
 public:
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
  SqliteStatement(SqliteStatement&& other) noexcept : statement_(other.statement_) { other.statement_ = nullptr; }
  SqliteStatement& operator=(SqliteStatement&&) = delete;
  ~SqliteStatement();

  SqliteStatement& Bind(int64_t value);
  SqliteStatement& Bind(std::string_view text);
  SqliteStatement& BindBlob(std::string_view bytes);

  // True: a row is there. False: done.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  int64_t Integer(int column) const;
  // Valid until the next Step.
  std::string_view Bytes(int column) const;

 private:
  sqlite3_stmt* statement_;
  int next_parameter_ = 1;
  int bind_error_ = 0;
};

// A connection with its prepared statements, each made once. Not thread-safe.
class SqliteConnection {
 public:
  enum class Mode { kReadWriteCreate, kReadOnly };
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path, Mode mode);
  ~SqliteConnection();
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // Any number of statements, without parameters; rows are thrown away.
  absl::Status Execute(const std::string& sql);
  // The statement of this text, ready to be bound. At most one execution of a text at a time.
  absl::StatusOr<SqliteStatement> Prepare(std::string_view sql);
  // Gives up the prepared statements when they are more than `beyond`, so that texts made from requests do not pile up.
  // None may be in use.
  void ForgetStatements(size_t beyond);
  size_t statements() const { return statements_.size(); }
  // Rows that the last statement changed.
  int64_t changes() const;

 private:
  explicit SqliteConnection(sqlite3* database) : database_(database) {}

  sqlite3* database_;
  std::map<std::string, sqlite3_stmt*, std::less<>> statements_;
};

}  // namespace mantissa::server
