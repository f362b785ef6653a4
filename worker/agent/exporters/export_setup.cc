#include "worker/agent/exporters/export_setup.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "worker/agent/exporters/tensorboard_exporter.h"

namespace mantissa::agent {
namespace {

constexpr char kTokenVariable[] = "MLFLOW_TRACKING_TOKEN";

absl::StatusOr<std::string> PrepareFolder(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = fs::absolute(given, error);
  if (!error) fs::create_directories(folder, error);
  if (error || ::access(folder.c_str(), W_OK | X_OK) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("--tensorboard-dir: ", folder.string(), " can't be written into (",
                                                   error ? error.message() : std::generic_category().message(errno),
                                                   "); name a folder that is writable"));
  }
  return folder.string();
}

// The host of `http[s]://host[:port][/path]`, without brackets.
std::string_view HostOf(std::string_view uri) {
  std::string_view rest = uri.substr(uri.find("://") + 3);
  rest = rest.substr(0, rest.find('/'));
  if (rest.starts_with('[')) return rest.substr(1, rest.find(']') - 1);
  return rest.substr(0, rest.find(':'));
}

bool IsThisMachine(std::string_view host) {
  in_addr address = {};  // of 127.0.0.0/8: a name may begin with the digits, too
  const bool loopback =
      ::inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
  return host == "localhost" || host == "::1" || loopback;
}

absl::StatusOr<MlflowOptions> PrepareMlflow(const WorkerSettings& settings, const std::string& token) {
  MlflowOptions options;
  options.uri = settings.mlflow_uri;
  while (options.uri.ends_with('/')) options.uri.pop_back();
  const bool secure = options.uri.starts_with("https://");
  // A password in it would be printed and logged; a control character would be another header.
  const bool odd = std::any_of(options.uri.begin(), options.uri.end(), [](unsigned char c) {
    return c <= ' ' || c >= 0x7F || c == '@' || c == '?' || c == '#';
  });
  if ((!secure && !options.uri.starts_with("http://")) || odd || HostOf(options.uri).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--mlflow-uri: it must be http://host[:port] or https://host[:port], without user, password or "
                     "query, for example http://127.0.0.1:5000; a token goes into the variable ",
                     kTokenVariable));
  }
  if (settings.mlflow_experiment.empty()) {
    return absl::InvalidArgumentError("--mlflow-experiment: it is empty; leave it out for the experiment mantissa");
  }
  options.experiment = settings.mlflow_experiment;
  if (std::any_of(token.begin(), token.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7F; })) {
    return absl::InvalidArgumentError(
        absl::StrCat(kTokenVariable, ": it holds a blank or a control character; set it to the token alone"));
  }
  if (!token.empty() && !secure && !IsThisMachine(HostOf(options.uri))) {
    return absl::InvalidArgumentError(absl::StrCat("--mlflow-uri: ", kTokenVariable,
                                                   " would go over the network in clear text; use https, or unset it"));
  }
  options.http.bearer_token = token;
  return options;
}

}  // namespace

absl::StatusOr<ExportSetup> PrepareExports(const WorkerSettings& settings, const process::Environment& environment) {
  ExportSetup setup;
  setup.options.interval = settings.export_interval;
  if (!settings.tensorboard_dir.empty()) {
    absl::StatusOr<std::string> folder = PrepareFolder(settings.tensorboard_dir);
    if (!folder.ok()) return folder.status();
    setup.tensorboard_dir = *std::move(folder);
  }
  if (!settings.mlflow_uri.empty()) {
    absl::StatusOr<MlflowOptions> mlflow = PrepareMlflow(settings, environment(kTokenVariable).value_or(""));
    if (!mlflow.ok()) return mlflow.status();
    setup.mlflow = *std::move(mlflow);
  }
  return setup;
}

void AddExporters(const ExportSetup& setup, const std::string& host_name, const process::Clock& clock, ExportHub& hub) {
  if (!setup.tensorboard_dir.empty()) {
    hub.Add(std::make_unique<TensorboardExporter>(setup.tensorboard_dir, host_name, clock), setup.options);
  }
  if (setup.mlflow) hub.Add(std::make_unique<MlflowExporter>(*setup.mlflow, clock), setup.options);
}

}  // namespace mantissa::agent
