#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

struct pg_result;

namespace mantissa::server {

// The answer to a statement. Rows and columns count from 0. Not thread-safe.
class PostgresRows {
 public:
  explicit PostgresRows(pg_result* result) : result_(result) {}

  int size() const;
  // Of a BIGINT, INTEGER or BOOLEAN.
  int64_t Integer(int row, int column) const;
  // Of a TEXT or BYTEA; valid as long as the rows.
  std::string_view Bytes(int row, int column) const;
  const pg_result* get() const { return result_.get(); }

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
};

}  // namespace mantissa::server
