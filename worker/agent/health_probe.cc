#include "worker/agent/health_probe.h"

#include <chrono>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "worker/agent/exporters/http_client.h"

namespace mantissa::agent {
namespace {

// Where a worker that listens there is found from this machine; empty without a port.
std::string LocalAddress(const std::string& listen) {
  const std::size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon);
  const std::string port = colon == std::string::npos ? listen : listen.substr(colon + 1);
  if (port.empty() || port == "0" || port.find_first_not_of("0123456789") != std::string::npos) return "";
  const bool anywhere = colon == std::string::npos || host.empty() || host == "0.0.0.0" || host == "[::]";
  return absl::StrCat(anywhere ? "127.0.0.1" : host, ":", port);
}

bool SaysConnected(const std::string& page) {
  for (const auto line : absl::StrSplit(page, '\n')) {
    if (line == "mantissa_worker_connected 1") return true;
  }
  return false;
}

}  // namespace

absl::Status AskHealth(const std::string& metrics_listen) {
  const std::string address = LocalAddress(metrics_listen);
  if (address.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--metrics-listen: ", metrics_listen,
                                                   " does not say on which port the worker is; give a worker whose "
                                                   "health is asked for one, such as 127.0.0.1:9465"));
  }
  HttpOptions options;
  options.connect_timeout = std::chrono::seconds(2);
  options.timeout = std::chrono::seconds(4);
  options.direct = true;  // a proxy is for the outside world, never for this machine
  HttpClient http(absl::StrCat("http://", address), options);
  const absl::StatusOr<HttpAnswer> answer = http.Get("/metrics");
  if (!answer.ok() || answer->code != 200) {
    return absl::UnavailableError(
        absl::StrCat("no worker answers at ", address, " (--metrics-listen): ",
                     answer.ok() ? absl::StrCat("HTTP ", answer->code) : std::string(answer.status().message())));
  }
  if (!SaysConnected(answer->body)) {
    return absl::UnavailableError("the worker does not reach its server; its log says why, and its jobs train on");
  }
  return absl::OkStatus();
}

}  // namespace mantissa::agent
