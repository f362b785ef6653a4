// Private to sqlite_*.cc.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/store/sqlite_store.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {

class SqliteStore::Reader {
 public:
  Reader(SqliteStore& store, std::unique_ptr<SqliteConnection> connection)
      : store_(store), connection_(std::move(connection)) {}
  Reader(Reader&& other) noexcept = default;
  Reader& operator=(Reader&&) = delete;
  ~Reader();

  SqliteConnection& connection() { return *connection_; }

 private:
  SqliteStore& store_;
  std::unique_ptr<SqliteConnection> connection_;
};

// Every row of a statement that is bound already. `take` may end the reading early with false.
template <typename Take>
absl::Status ForEachRow(SqliteStatement& statement, Take take) {
  while (true) {
    auto row = statement.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    absl::StatusOr<bool> go_on = take(statement);
    if (!go_on.ok()) return go_on.status();
    if (!*go_on) return absl::OkStatus();
  }
}

template <typename Message>
absl::StatusOr<bool> TakeRow(std::string_view bytes, std::vector<Message>& messages) {
  absl::Status status = ParseRow(bytes, messages.emplace_back());
  if (!status.ok()) return status;
  return true;
}

}  // namespace mantissa::server
