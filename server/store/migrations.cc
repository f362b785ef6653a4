#include "server/store/migrations.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"

namespace mantissa::server {
namespace {

// "MNTS": tells our databases from anybody else's.
constexpr int64_t kApplicationId = 0x4d4e5453;

absl::StatusOr<int64_t> SingleInteger(SqliteConnection& connection, std::string_view sql) {
  auto statement = connection.Prepare(sql);
  if (!statement.ok()) return statement.status();
  auto row = statement->Step();
  if (!row.ok()) return row.status();
  return *row ? statement->Integer(0) : 0;
}

absl::Status MakeEmptyOurs(SqliteConnection& connection) {
  return connection.Execute(
      absl::StrCat("BEGIN IMMEDIATE;"
                   "PRAGMA application_id = ",
                   kApplicationId,
                   ";"
                   "CREATE TABLE schema_migrations ("
                   "  version INTEGER PRIMARY KEY,"
                   "  name TEXT NOT NULL,"
                   "  sha256 TEXT NOT NULL"
                   ");"
                   "COMMIT;"));
}

absl::Status Apply(SqliteConnection& connection, const Migration& migration) {
  absl::Status status = connection.Execute("BEGIN IMMEDIATE");
  if (status.ok()) status = connection.Execute(std::string(migration.sql));
  MANTISSA_FAILPOINT("migration.after_change");
  if (status.ok()) {
    auto insert = connection.Prepare("INSERT INTO schema_migrations (version, name, sha256) VALUES (?, ?, ?)");
    status = insert.ok() ? insert->Bind(migration.version).Bind(migration.name).Bind(migration.sha256).Run()
                         : insert.status();
  }
  MANTISSA_FAILPOINT("migration.before_commit");
  if (status.ok()) status = connection.Execute("COMMIT");
  MANTISSA_FAILPOINT("migration.after_commit");
  if (!status.ok()) connection.Execute("ROLLBACK").IgnoreError();
  return status;
}

absl::StatusOr<std::vector<AppliedMigration>> AppliedMigrations(SqliteConnection& connection) {
  auto statement = connection.Prepare("SELECT version, sha256 FROM schema_migrations ORDER BY version");
  if (!statement.ok()) return statement.status();
  std::vector<AppliedMigration> applied;
  while (true) {
    auto row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return applied;
    applied.push_back({static_cast<int32_t>(statement->Integer(0)), std::string(statement->Bytes(1))});
  }
}

}  // namespace

absl::StatusOr<int32_t> SchemaVersion(SqliteConnection& connection) {
  auto version = SingleInteger(connection, "SELECT COALESCE(MAX(version), 0) FROM schema_migrations");
  if (!version.ok()) return version.status();
  return static_cast<int32_t>(*version);
}

absl::Status Migrate(SqliteConnection& connection, const std::vector<Migration>& migrations) {
  auto application = SingleInteger(connection, "PRAGMA application_id");
  if (!application.ok()) return application.status();
  if (*application != kApplicationId) {
    auto tables = SingleInteger(connection, "SELECT COUNT(*) FROM sqlite_master");
    if (!tables.ok()) return tables.status();
    if (*application != 0 || *tables > 0) {
      return absl::FailedPreconditionError(
          "store: the file is another program's database; name a file of its own for this server");
    }
    absl::Status made = MakeEmptyOurs(connection);
    if (!made.ok()) return made;
    MANTISSA_FAILPOINT("migration.after_making");
  }

  const auto applied = AppliedMigrations(connection);
  if (!applied.ok()) return applied.status();
  absl::Status status = CheckHistory(*applied, migrations);
  for (size_t i = applied->size(); status.ok() && i < migrations.size(); ++i) {
    status = Apply(connection, migrations[i]);
  }
  return status;
}

}  // namespace mantissa::server
