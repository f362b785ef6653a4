// Runs of an MLflow tracking server.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include <nlohmann/json_fwd.hpp>

#include "process/clock.h"
#include "worker/agent/exporters/exporter.h"
#include "worker/agent/exporters/http_client.h"

namespace mantissa::agent {

struct MlflowOptions {
  std::string uri;  // http[s]://host[:port][/path], without a slash at its end
  std::string experiment = "mantissa";
  HttpOptions http = {};
};

// Speaks MLflow's REST API 2.0 (mlflow.org/docs, REST API): experiments/get-by-name and create, runs/create, search,
// log-batch and update. One run an attempt, called as the job is, with tags mantissa.job_id and mantissa.attempt, the
// spec's parameters, and metrics of the step that the iteration is; it ends FINISHED, FAILED or KILLED. What MLflow may
// take later (no answer, 408, 429, 5xx) is UNAVAILABLE, and repeating it makes no second run: one is looked for first.
class MlflowExporter final : public Exporter {
 public:
  // `clock` must outlive it.
  MlflowExporter(MlflowOptions options, const process::Clock& clock);

  const char* name() const override { return "mlflow"; }
  absl::Status Begin(const ExportedAttempt& attempt) override;
  absl::Status Add(const AttemptKey& key, const std::vector<ExportPoint>& points) override;
  absl::Status End(const AttemptKey& key, v1::Attempt::State state) override;
  void Abort() override { http_.Abort(); }

  // MLflow's own bound for one call of log-batch.
  static constexpr std::size_t kMaxMetrics = 1000;

 private:
  absl::Status FindExperiment();
  absl::StatusOr<std::string> FindRun(const AttemptKey& key);
  absl::StatusOr<std::string> CreateRun(const ExportedAttempt& attempt);
  // An answer of 200 as JSON.
  absl::StatusOr<nlohmann::json> Post(std::string_view call, const nlohmann::json& body);

  const MlflowOptions options_;
  const process::Clock& clock_;
  HttpClient http_;
  std::string experiment_id_;
  bool may_have_run_ = false;  // a run was asked for, and nobody knows whether it was made
  std::map<AttemptKey, std::string> runs_;
};

}  // namespace mantissa::agent
