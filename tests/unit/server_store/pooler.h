// pgbouncer between a test and PostgreSQL.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <poll.h>
#include <signal.h>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include "gtest/gtest.h"
#include <libpq-fe.h>

#include "temp_folder.h"
#include "tests/support/postgres_server.h"
#include "tests/support/side_process.h"

namespace mantissa::server {

class Pooler {
 public:
  // Where the program is; empty where it is not.
  static std::string Program() {
    std::istringstream folders(std::string(std::getenv("PATH")) + ":/usr/sbin");
    for (std::string folder; std::getline(folders, folder, ':');) {
      if (::access((folder + "/pgbouncer").c_str(), X_OK) == 0) return folder + "/pgbouncer";
    }
    return "";
  }

  // Before the database of that connection string; `settings` are lines of pgbouncer.ini.
  Pooler(const std::string& database, const std::string& settings) : database_(database + " port=6432") {
    const std::string folder = tests::PostgresServer::Get().folder();
    file_ = folder + "/pgbouncer.ini";
    Write(settings);
    std::ofstream(folder + "/users") << "\"service\" \"\"\n";
    tests::GiveToSideProcesses(folder + "/users");
    // A copy, in a place where the user that it runs as may run it.
    const std::string program = program_ / "pgbouncer";
    std::filesystem::copy_file(Program(), program);
    tests::GiveToSideProcesses(program_.path());
    process_ = std::make_unique<tests::SideProcess>(std::vector<std::string>{program, file_}, folder,
                                                    folder + "/pgbouncer.log");
    while (::PQping(database_.c_str()) != PQPING_OK && process_->Running()) ::poll(nullptr, 0, 10);
    EXPECT_TRUE(process_->Running()) << std::ifstream(folder + "/pgbouncer.log").rdbuf();
  }

  const std::string& database() const { return database_; }

  // Takes effect before this returns.
  void Change(const std::string& settings) {
    Write(settings);
    PGconn* console = ::PQconnectdb((database_ + " dbname=pgbouncer").c_str());
    PGresult* reloaded = ::PQexec(console, "RELOAD");
    EXPECT_EQ(::PQresultStatus(reloaded), PGRES_COMMAND_OK) << ::PQerrorMessage(console);
    ::PQclear(reloaded);
    ::PQfinish(console);
  }

 private:
  void Write(const std::string& settings) {
    const std::string folder = tests::PostgresServer::Get().folder();
    std::ofstream(file_) << "[databases]\n* = host=" << folder
                         << " port=5432\n[pgbouncer]\nunix_socket_dir = " << folder
                         << "\nlisten_port = 6432\nauth_type = trust\nauth_file = " << folder
                         << "/users\nadmin_users = service\n"
                         << settings;
    tests::GiveToSideProcesses(file_);
  }

  const std::string database_;
  TempFolder program_;
  std::string file_;
  std::unique_ptr<tests::SideProcess> process_;
};

}  // namespace mantissa::server

#define MANTISSA_NEEDS_PGBOUNCER() \
  if (Pooler::Program().empty()) GTEST_SKIP() << "SKIPPED: pgbouncer is not here (deploy/setup.sh --tests)"
