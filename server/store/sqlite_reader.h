// Private to sqlite_*.cc.
#pragma once

#include <memory>
#include <utility>

#include "server/store/sqlite_store.h"

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

}  // namespace mantissa::server
