#include "server/store/postgres_rows.h"

#include <cstddef>

#include <libpq-fe.h>

namespace mantissa::server {

void PostgresRows::Clear::operator()(pg_result* result) const { PQclear(result); }

int PostgresRows::size() const { return PQntuples(result_.get()); }

int64_t PostgresRows::Integer(int row, int column) const {
  const std::string_view bytes = Bytes(row, column);
  uint64_t value = 0;
  for (char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return bytes.size() == sizeof(int32_t) ? static_cast<int32_t>(value) : static_cast<int64_t>(value);
}

std::string_view PostgresRows::Bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column), static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

}  // namespace mantissa::server
