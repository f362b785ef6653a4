// Private to postgres_*.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/store/postgres_store.h"

namespace mantissa::server {

// One reading at a time. A connection that turns out to be lost is opened anew, once: reads can be repeated.
class PostgresStore::Reader {
 public:
  Reader(PostgresStore& store, std::unique_ptr<PostgresConnection> connection)
      : store_(&store), connection_(std::move(connection)) {}
  Reader(Reader&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)), connection_(std::move(other.connection_)) {}
  Reader& operator=(Reader&&) = delete;
  ~Reader();

  // A value that no column can hold finds no rows.
  absl::StatusOr<PostgresRows> Query(const PostgresStatement& statement);
  // For texts that are made from requests.
  absl::StatusOr<PostgresRows> QueryOnce(const PostgresStatement& statement);
  absl::StatusOr<PostgresConnection*> Connection();

 private:
  using Ask = absl::StatusOr<PostgresRows> (PostgresConnection::*)(const PostgresStatement&);
  absl::StatusOr<PostgresRows> Try(Ask ask, const PostgresStatement& statement);

  PostgresStore* store_;  // null: moved from
  std::unique_ptr<PostgresConnection> connection_;
};

// An answer of PostgreSQL comes whole, so what may be large is cut there: `page`, rows in order with the bytes of each
// as `size`, only as far as the rows before have no more than the limit. `total` is how many the page would have had.
std::string CutByBytes(std::string_view columns, std::string_view page, std::string_view order, std::string_view limit);

}  // namespace mantissa::server
