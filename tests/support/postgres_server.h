// A PostgreSQL of a test program's own: real, on a Unix socket in a folder of its own, gone with the program.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tests/support/side_process.h"

namespace mantissa::tests {

// Started when it is first asked for, by the main thread. It syncs as in production, on a disk in memory where there is
// one. Not thread-safe.
class PostgresServer {
 public:
  // Why no server can be started on this machine; empty where one can.
  static const std::string& Missing();
  // Ends the program, with the server's own words, if it does not start.
  static PostgresServer& Get();

  // A new, empty database that belongs to an ordinary user: how to connect as that user.
  std::string NewDatabase(const std::string& options = "");
  // The same database, as the superuser.
  static std::string AsAdmin(const std::string& conninfo);
  // Where the socket is.
  const std::string& folder() const { return folder_; }

 private:
  PostgresServer();
  ~PostgresServer();

  void UntilItAnswers();

  std::string folder_;
  std::unique_ptr<SideProcess> process_;
  int databases_ = 0;
};

}  // namespace mantissa::tests

// In SetUp or at the beginning of a test: skips it, and says so, where PostgreSQL is not installed.
#define MANTISSA_NEEDS_POSTGRES()                            \
  if (!::mantissa::tests::PostgresServer::Missing().empty()) \
  GTEST_SKIP() << ::mantissa::tests::PostgresServer::Missing()
