#include "tests/support/postgres_server.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpq-fe.h>

namespace mantissa::tests {
namespace {

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin/";
constexpr char kAdmin[] = "admin";
constexpr char kUser[] = "service";
const std::string kFolder = "mantissa-postgres-";

std::string Connection(const std::string& folder, const std::string& database, const std::string& user) {
  return "host=" + folder + " dbname=" + database + " user=" + user;
}

// A program that is killed leaves its folder, which may be in memory.
void RemoveLeftOvers(const std::filesystem::path& parent) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kFolder)) continue;
    const pid_t owner = std::atoi(name.c_str() + kFolder.size());
    if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) std::filesystem::remove_all(entry.path(), ignored);
  }
}

[[noreturn]] void Die(const std::string& what, const std::string& log) {
  std::cerr << "PostgreSQL for tests: " << what << "\n" << std::ifstream(log).rdbuf() << std::endl;
  std::exit(1);
}

}  // namespace

const std::string& PostgresServer::Missing() {
  static const std::string kMissing = [] {
    if (::access((std::string(kPrograms) + "initdb").c_str(), X_OK) != 0) {
      return std::string("SKIPPED: PostgreSQL 15 is not installed (deploy/setup.sh --tests)");
    }
    if (::geteuid() == 0 && ::getpwnam("postgres") == nullptr) {
      return std::string("SKIPPED: there is no user `postgres`, and PostgreSQL refuses to run as root");
    }
    return std::string();
  }();
  return kMissing;
}

PostgresServer& PostgresServer::Get() {
  static PostgresServer server;
  return server;
}

PostgresServer::PostgresServer() {
  struct stat null {};
  if (::stat("/dev/null", &null) != 0 || !S_ISCHR(null.st_mode)) {
    Die("/dev/null is no device, and initdb fails on it: rm /dev/null && mknod -m 666 /dev/null c 1 3", "");
  }
  const std::filesystem::path parent =
      std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
  RemoveLeftOvers(parent);
  folder_ = (parent / (kFolder + std::to_string(::getpid()) + "-XXXXXX")).string();
  if (::mkdtemp(folder_.data()) == nullptr) Die("no folder for it under " + parent.string(), "");
  GiveToSideProcesses(folder_);
  const std::string log = folder_ + "/log";
  const std::string data = folder_ + "/data";
  // What initdb makes need not survive anything; what the server writes is synced.
  SideProcess make({std::string(kPrograms) + "initdb", "--pgdata", data, "--username", kAdmin, "--auth", "trust",
                    "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"},
                   folder_, log);
  if (make.Wait() != 0) Die("initdb failed", log);
  process_ = std::make_unique<SideProcess>(
      std::vector<std::string>{std::string(kPrograms) + "postgres", "-D", data, "-k", folder_, "-h", "", "-c",
                               "fsync=on", "-c", "shared_buffers=32MB", "-c", "max_connections=60", "-c",
                               "log_line_prefix=%m %p "},
      folder_, log);
  UntilItAnswers();
}

void PostgresServer::UntilItAnswers() {
  while (::PQping(Connection(folder_, "postgres", kAdmin).c_str()) != PQPING_OK) {
    if (!process_->Running()) Die("it does not run", folder_ + "/log");
    ::poll(nullptr, 0, 10);
  }
}

PostgresServer::~PostgresServer() {
  process_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string PostgresServer::NewDatabase(const std::string& options) {
  UntilItAnswers();  // a test may have made it restart itself
  const std::string name = "test_" + std::to_string(++databases_);
  PGconn* admin = ::PQconnectdb(Connection(folder_, "postgres", kAdmin).c_str());
  if (databases_ == 1) ::PQclear(::PQexec(admin, ("CREATE ROLE " + std::string(kUser) + " LOGIN").c_str()));
  PGresult* made = ::PQexec(admin, ("CREATE DATABASE " + name + " OWNER " + kUser + " " + options).c_str());
  if (::PQresultStatus(made) != PGRES_COMMAND_OK) Die(::PQerrorMessage(admin), folder_ + "/log");
  ::PQclear(made);
  ::PQfinish(admin);
  return Connection(folder_, name, kUser);
}

std::string PostgresServer::AsAdmin(const std::string& conninfo) { return conninfo + " user=" + kAdmin; }

}  // namespace mantissa::tests
