// The schemas' histories, one numbered file of SQL for every change, built into the program.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace mantissa::server {

struct Migration {
  int32_t version = 0;
  std::string_view name;    // "0001_first"
  std::string_view sha256;  // of the file
  std::string_view sql;
};

// In order; versions are 1, 2, 3, ... The build makes these of server/store/migrations/*.sql, for SQLite, and of
// server/store/migrations_postgres/*.sql.
const std::vector<Migration>& Migrations();
const std::vector<Migration>& PostgresMigrations();

// A migration as a database remembers it.
struct AppliedMigration {
  int32_t version = 0;
  std::string sha256;
};

// Whether this program may open a database with that history, in order: FAILED_PRECONDITION, saying what to do, for one
// that a newer server has migrated and one whose migrations are not those that this program knows by their numbers.
absl::Status CheckHistory(const std::vector<AppliedMigration>& applied, const std::vector<Migration>& known);

}  // namespace mantissa::server
