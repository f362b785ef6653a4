// mantissa-server: reads the settings, serves until it is told to stop.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <sys/resource.h>

#include "process/clock.h"
#include "process/failpoint.h"
#include "process/log.h"
#include "process/settings.h"
#include "process/settings_flags.h"
#include "process/stop_signal.h"
#include "server/program/running_server.h"
#include "server/program/server_options.h"
#include "server/store/sqlite_backup.h"

// Read by jemalloc. An idle server has a dozen threads that hardly allocate, an arena for each is memory for nothing;
// and what a burst needed goes back to the system though nobody allocates any more.
extern "C" {
const char* malloc_conf = "narenas:2,background_thread:true";
}

namespace {

using mantissa::process::Level;
using mantissa::process::Log;
using mantissa::server::RunningServer;
using mantissa::server::ServerOptions;

constexpr int kOk = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

// As many files and connections as the system allows, not the 1,024 that a shell or container is given for programs
// that can't count further.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Whole or absent, so that whoever waits for the file never reads half of it.
absl::Status WriteAddressFile(const std::string& path, const RunningServer& server) {
  const std::string temporary = path + ".new";
  std::ofstream file(temporary, std::ios::trunc);
  file << server.address() << "\n" << server.metrics_address() << "\n" << server.health_address() << "\n";
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, path, error);
  if (!file || error) return absl::UnavailableError("--address-file: " + path + " can't be written");
  return absl::OkStatus();
}

int Refuse(int code, const absl::Status& status) {
  std::cerr << "mantissa-server: " << std::string(status.message()) << "\n";
  return code;
}

int Serve(const ServerOptions& options) {
  RaiseDescriptorLimit();
  const mantissa::process::StopSignal stop;
  const mantissa::process::RealClock clock;
  auto server = RunningServer::Start(options, clock);
  if (!server.ok()) return Refuse(absl::IsInvalidArgument(server.status()) ? kUsage : kFailed, server.status());
  if (!options.address_file.empty()) {
    const absl::Status written = WriteAddressFile(options.address_file, **server);
    if (!written.ok()) return Refuse(kFailed, written);
  }
  Log(Level::kInfo,
      (options.postgres.empty() ? "mantissa-server ready on " : "mantissa-server listens on ") + (*server)->address(),
      {{"metrics", (*server)->metrics_address()}, {"data_dir", options.data_dir}});

  stop.Wait();
  Log(Level::kInfo, "mantissa-server stops: no more work is taken, open calls are told to come back");
  (*server)->Drain(options.drain_timeout);
  Log(Level::kInfo, "mantissa-server has stopped");
  return kOk;
}

int BackUpTo(const std::string& file, const ServerOptions& options) {
  if (!options.postgres.empty()) {
    return Refuse(kUsage, absl::InvalidArgumentError("backup: copies SQLite's database; use pg_dump for PostgreSQL's"));
  }
  const mantissa::process::RealClock clock;
  const absl::Status copied = mantissa::server::BackUp(options.data_dir + "/mantissa.db", file, clock);
  if (!copied.ok()) return Refuse(kFailed, copied);
  std::cout << "written to " << file << "; logs and artifacts are in " << options.data_dir << "/jobs, copy that, too\n";
  return kOk;
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status failpoints = MANTISSA_FAILPOINTS_STATUS();
  if (!failpoints.ok()) return Refuse(kUsage, failpoints);
  ServerOptions options;
  mantissa::process::Settings settings("mantissa-server", DeclareSettings(options));
  CLI::App app("Mantissa's server: takes training jobs and gives them to workers.", settings.program());
  mantissa::process::SettingTexts flags;
  mantissa::process::DeclareFlags(settings, app, flags);
  std::string backup_file;
  CLI::App* const backup = app.add_subcommand(
      "backup", "Write a copy of the database of --data-dir, whose server may be running; start one on it to restore.");
  backup->add_option("file", backup_file, "A new file; it becomes mantissa.db in the --data-dir of a restored server")
      ->required();
  app.set_version_flag("--version", std::string("mantissa-server ") + MANTISSA_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  const absl::Status loaded = settings.Load(flags, mantissa::process::ProcessEnvironment());
  if (!loaded.ok()) return Refuse(kUsage, loaded);
  if (settings.print_config()) {
    std::cout << settings.Print();
    return kOk;
  }
  mantissa::process::LogOptions log;
  log.level = mantissa::process::ParseLevel(options.log_level).value_or(log.level);
  log.format = mantissa::process::ParseLogFormat(options.log_format).value_or(log.format);
  mantissa::process::ConfigureLog(log);
  return backup->parsed() ? BackUpTo(backup_file, options) : Serve(options);
}
