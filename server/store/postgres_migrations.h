// PostgreSQL's schema, brought up to date.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/store/migration_history.h"
#include "server/store/postgres.h"

namespace mantissa::server {

// Brings the schema that the connection's search_path names first up to date, each migration in a transaction of its
// own, which also ends the epoch of whatever server still writes into the older schema. Refused, with nothing changed:
// a database that CheckHistory refuses, and a schema that holds some other program's tables. ABORTED when another
// server migrates at the same time; the caller holds the ActiveLock, so that this is one that has lost it.
absl::Status Migrate(PostgresConnection& connection, const std::vector<Migration>& migrations = PostgresMigrations());

absl::StatusOr<int32_t> SchemaVersion(PostgresConnection& connection);

}  // namespace mantissa::server
