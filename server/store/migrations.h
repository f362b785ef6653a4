// SQLite's schema, brought up to date.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/store/migration_history.h"
#include "server/store/sqlite.h"

namespace mantissa::server {

// Brings a database up to date, each migration in a transaction of its own. Refused, with nothing changed: a database
// that CheckHistory refuses, and a file that is some other program's database.
absl::Status Migrate(SqliteConnection& connection, const std::vector<Migration>& migrations = Migrations());

absl::StatusOr<int32_t> SchemaVersion(SqliteConnection& connection);

}  // namespace mantissa::server
