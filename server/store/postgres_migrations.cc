#include "server/store/postgres_migrations.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"

namespace mantissa::server {
namespace {

// On the table of migrations: tells ours from anybody else's of that name, which is a common one.
constexpr char kOurs[] = "Migrations of mantissa-server";

absl::StatusOr<int64_t> SingleInteger(PostgresConnection& connection, std::string_view sql) {
  auto rows = connection.Query(PostgresStatement(sql));
  if (!rows.ok()) return rows.status();
  return rows->size() == 0 ? 0 : rows->Integer(0, 0);
}

absl::StatusOr<bool> IsOurs(PostgresConnection& connection) {
  auto rows = connection.Query(
      PostgresStatement("SELECT COALESCE(obj_description(oid, 'pg_class'), '') FROM pg_class "
                        "WHERE relname = 'schema_migrations' AND relnamespace = current_schema()::regnamespace"));
  if (!rows.ok()) return rows.status();
  return rows->size() == 1 && rows->Bytes(0, 0) == kOurs;
}

absl::Status Apply(PostgresConnection& connection, const Migration& migration) {
  // The row first: of two that migrate at once the second waits here, and is then refused by the key.
  PostgresStatement insert("INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)");
  insert.Bind(migration.version).Bind(migration.name).Bind(migration.sha256);
  absl::Status status = connection.Execute("BEGIN");
  if (status.ok()) status = connection.Query(insert).status();
  // A server that has lost its lock without knowing it must not write rows of the old schema into the new one.
  if (status.ok() && migration.version > 1) status = connection.Execute("UPDATE server SET epoch = epoch + 1");
  if (status.ok()) status = connection.Execute(std::string(migration.sql));
  MANTISSA_FAILPOINT("migration.before_commit");
  if (status.ok()) status = connection.Execute("COMMIT");
  MANTISSA_FAILPOINT("migration.after_commit");
  if (!status.ok() && connection.Alive()) connection.Execute("ROLLBACK").IgnoreError();
  return status;
}

}  // namespace

absl::StatusOr<int32_t> SchemaVersion(PostgresConnection& connection) {
  auto version = SingleInteger(connection, "SELECT COALESCE(MAX(version), 0) FROM schema_migrations");
  if (!version.ok()) return version.status();
  return static_cast<int32_t>(*version);
}

absl::Status Migrate(PostgresConnection& connection, const std::vector<Migration>& migrations) {
  auto ours = IsOurs(connection);
  if (!ours.ok()) return ours.status();
  if (!*ours) {
    // Those of extensions are nobody's.
    auto tables =
        SingleInteger(connection,
                      "SELECT count(*) FROM pg_class AS c WHERE relkind IN ('r', 'p') AND "
                      "relnamespace = current_schema()::regnamespace AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE "
                      "classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')");
    if (!tables.ok()) return tables.status();
    if (*tables > 0) {
      return absl::FailedPreconditionError(
          "store: the database holds another program's tables; name a database of its own for this server");
    }
    // Sent as one, they are one transaction.
    absl::Status made =
        connection.Execute(absl::StrCat("CREATE TABLE schema_migrations ("
                                        "  version BIGINT PRIMARY KEY,"
                                        "  name TEXT NOT NULL,"
                                        "  sha256 TEXT NOT NULL"
                                        ");"
                                        "COMMENT ON TABLE schema_migrations IS '",
                                        kOurs, "'"));
    if (!made.ok()) return made;
  }

  auto rows = connection.Query(PostgresStatement("SELECT version, sha256 FROM schema_migrations ORDER BY version"));
  if (!rows.ok()) return rows.status();
  std::vector<AppliedMigration> applied;
  for (int i = 0; i < rows->size(); ++i) {
    applied.push_back({static_cast<int32_t>(rows->Integer(i, 0)), std::string(rows->Bytes(i, 1))});
  }
  absl::Status status = CheckHistory(applied, migrations);
  for (size_t i = applied.size(); status.ok() && i < migrations.size(); ++i) {
    status = Apply(connection, migrations[i]);
  }
  return status;
}

}  // namespace mantissa::server
