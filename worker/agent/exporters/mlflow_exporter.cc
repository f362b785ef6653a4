#include "worker/agent/exporters/mlflow_exporter.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "process/utf8.h"

namespace mantissa::agent {
namespace {

using nlohmann::json;

constexpr std::string_view kApi = "/api/2.0/mlflow/";
constexpr std::size_t kMaxMessage = 300;  // of a server's error

// As JSON has no such numbers; MLflow reads these as protobuf's JSON does.
json NumberOf(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

// Nothing that is not UTF-8 throws.
std::string Text(const json& body) { return body.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string FieldOf(const json& object, std::initializer_list<const char*> path) {
  const json* at = &object;
  for (const char* const name : path) {
    if (!at->is_object() || !at->contains(name)) return "";
    at = &(*at)[name];
  }
  return at->is_string() ? at->get<std::string>() : "";
}

json TagsOf(const AttemptKey& key) {
  return {{{"key", "mantissa.job_id"}, {"value", key.job_id}},
          {{"key", "mantissa.attempt"}, {"value", std::to_string(key.attempt)}}};
}

const char* StatusOf(v1::Attempt::State state) {
  if (state == v1::Attempt::SUCCEEDED) return "FINISHED";
  // Cancelled, handed back or taken away.
  return state == v1::Attempt::FAILED ? "FAILED" : "KILLED";
}

absl::StatusOr<json> JsonOf(const HttpAnswer& answer, std::string_view call) {
  json body = json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  if (answer.code == 200 && body.is_object()) return body;
  const std::string said = FieldOf(body, {"message"});
  const std::string why = absl::StrCat("MLflow answered ", std::string(call), " with ", answer.code,
                                       said.empty() ? "" : ": ", process::Utf8Prefix(said, kMaxMessage));
  if (answer.code == 200 || answer.code == 408 || answer.code == 429 || answer.code >= 500) {
    return absl::UnavailableError(why);
  }
  if (answer.code >= 300 && answer.code < 400) {
    return absl::FailedPreconditionError(
        absl::StrCat(why, "; redirections are not followed, give --mlflow-uri the address it redirects to"));
  }
  if (answer.code == 401 || answer.code == 403) {
    return absl::PermissionDeniedError(absl::StrCat(why, "; does MLFLOW_TRACKING_TOKEN hold a valid token?"));
  }
  if (answer.code == 404) return absl::NotFoundError(absl::StrCat(why, "; is --mlflow-uri right?"));
  return absl::InvalidArgumentError(why);
}

std::int64_t Milliseconds(process::WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace

MlflowExporter::MlflowExporter(MlflowOptions options, const process::Clock& clock)
    : options_(std::move(options)), clock_(clock), http_(options_.uri, options_.http) {}

absl::Status MlflowExporter::Begin(const ExportedAttempt& attempt) {
  if (absl::Status found = FindExperiment(); !found.ok()) return found;
  absl::StatusOr<std::string> run = std::string();
  if (may_have_run_) run = FindRun(attempt.key);
  if (run.ok() && run->empty()) run = CreateRun(attempt);
  if (!run.ok()) return run.status();
  may_have_run_ = false;
  json parameters = json::array();
  for (const auto& [key, value] : attempt.parameters) parameters.push_back({{"key", key}, {"value", value}});
  const auto logged = Post("runs/log-batch", {{"run_id", *run}, {"params", parameters}});
  if (!logged.ok()) {
    may_have_run_ = true;
    return logged.status();
  }
  runs_[attempt.key] = *run;
  return absl::OkStatus();
}

absl::Status MlflowExporter::Add(const AttemptKey& key, const std::vector<ExportPoint>& points) {
  const std::string& run = runs_[key];
  json metrics = json::array();
  const auto send = [&]() -> absl::Status {
    const auto logged = Post("runs/log-batch", {{"run_id", run}, {"metrics", metrics}});
    metrics = json::array();
    return logged.status();
  };
  for (const ExportPoint& point : points) {
    for (const Scalar& scalar : point.scalars) {
      metrics.push_back({{"key", scalar.tag},
                         {"value", NumberOf(scalar.value)},
                         {"timestamp", point.time_unix_nanos / 1'000'000},
                         {"step", point.step}});
      if (metrics.size() < kMaxMetrics) continue;
      // What was logged before a later batch fails is logged again as it was, which MLflow takes for one value.
      if (absl::Status sent = send(); !sent.ok()) return sent;
    }
  }
  return metrics.empty() ? absl::OkStatus() : send();
}

absl::Status MlflowExporter::End(const AttemptKey& key, v1::Attempt::State state) {
  const auto ended =
      Post("runs/update",
           {{"run_id", runs_[key]}, {"status", StatusOf(state)}, {"end_time", Milliseconds(clock_.WallNow())}});
  if (ended.ok()) runs_.erase(key);
  return ended.status();
}

absl::Status MlflowExporter::FindExperiment() {
  if (!experiment_id_.empty()) return absl::OkStatus();
  const auto answer = http_.Get(
      absl::StrCat(std::string(kApi), "experiments/get-by-name?experiment_name=", http_.Escaped(options_.experiment)));
  if (!answer.ok()) return answer.status();
  absl::StatusOr<json> found = JsonOf(*answer, "experiments/get-by-name");
  if (found.ok()) {
    if (FieldOf(*found, {"experiment", "lifecycle_stage"}) == "deleted") {
      return absl::FailedPreconditionError(
          absl::StrCat("--mlflow-experiment: '", options_.experiment, "' is deleted; restore it, or name another"));
    }
    experiment_id_ = FieldOf(*found, {"experiment", "experiment_id"});
    return experiment_id_.empty() ? absl::UnavailableError("MLflow's experiment has no id") : absl::OkStatus();
  }
  if (answer->code != 404 || answer->body.find("RESOURCE_DOES_NOT_EXIST") == std::string::npos) return found.status();
  const auto created = Post("experiments/create", {{"name", options_.experiment}});
  if (created.ok()) {
    experiment_id_ = FieldOf(*created, {"experiment_id"});
    return experiment_id_.empty() ? absl::UnavailableError("MLflow made an experiment without an id")
                                  : absl::OkStatus();
  }
  // Another worker was first: found the next time.
  const bool lost_race = created.status().message().find("already exists") != absl::string_view::npos;
  return lost_race ? absl::UnavailableError(created.status().message()) : created.status();
}

absl::StatusOr<std::string> MlflowExporter::FindRun(const AttemptKey& key) {
  const auto found =
      Post("runs/search", {{"experiment_ids", json::array({experiment_id_})},
                           {"filter", absl::StrCat("tags.`mantissa.job_id` = '", key.job_id,
                                                   "' and tags.`mantissa.attempt` = '", key.attempt, "'")},
                           {"max_results", 1}});
  if (!found.ok()) return found.status();
  const auto runs = found->find("runs");
  if (runs == found->end() || !runs->is_array() || runs->empty()) return std::string();
  return FieldOf((*runs)[0], {"info", "run_id"});
}

absl::StatusOr<std::string> MlflowExporter::CreateRun(const ExportedAttempt& attempt) {
  may_have_run_ = true;
  const auto created = Post("runs/create", {{"experiment_id", experiment_id_},
                                            {"run_name", attempt.name},
                                            {"start_time", attempt.start_unix_millis},
                                            {"tags", TagsOf(attempt.key)}});
  if (!created.ok()) {
    if (absl::IsNotFound(created.status())) experiment_id_.clear();  // somebody removed it
    return created.status();
  }
  std::string run = FieldOf(*created, {"run", "info", "run_id"});
  if (run.empty()) return absl::UnavailableError("MLflow made a run without an id");
  return run;
}

absl::StatusOr<json> MlflowExporter::Post(std::string_view call, const json& body) {
  const auto answer = http_.PostJson(absl::StrCat(std::string(kApi), std::string(call)), Text(body));
  if (!answer.ok()) return answer.status();
  return JsonOf(*answer, call);
}

}  // namespace mantissa::agent
