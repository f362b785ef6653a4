// The schema's history, one numbered file of SQL for every change, built into the program.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "server/store/sqlite.h"

namespace mantissa::server {

struct Migration {
  int32_t version = 0;
  std::string_view name;    // "0001_first"
  std::string_view sha256;  // of the file
  std::string_view sql;
};

// In order; versions are 1, 2, 3, ... The build makes this of server/store/migrations/*.sql.
const std::vector<Migration>& Migrations();

// Brings a database up to date, each migration in a transaction of its own. Refused, with nothing changed: a database
// that a newer server has migrated, one whose migrations are not the ones this program knows by that number, and a file
// that is some other program's database.
absl::Status Migrate(SqliteConnection& connection, const std::vector<Migration>& migrations = Migrations());

absl::StatusOr<int32_t> SchemaVersion(SqliteConnection& connection);

}  // namespace mantissa::server
