#include "tests/unit/cli/fake_service.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include <grpcpp/health_check_service_interface.h>

namespace mantissa::cli {

using process::MutexLock;

void FakeJobService::AddJob(const v1::Job& job) {
  MutexLock lock(mutex_);
  jobs_.insert(jobs_.begin(), job);
}

void FakeJobService::SetJob(const v1::Job& job) {
  MutexLock lock(mutex_);
  for (v1::Job& existing : jobs_) {
    if (existing.id() == job.id()) existing = job;
  }
}

void FakeJobService::FailNext(const std::string& method, const grpc::Status& status) {
  MutexLock lock(mutex_);
  failures_[method].push_back(status);
}

void FakeJobService::AddWatch(Watch watch) {
  MutexLock lock(mutex_);
  watches_.push_back(std::move(watch));
}

FakeJobService::Watch FakeJobService::Sends(Frames frames) {
  return [frames = std::move(frames)](const v1::WatchJobRequest&, grpc::ServerContext*,
                                      grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    for (const v1::WatchJobResponse& frame : frames) writer->Write(frame);
    return grpc::Status::OK;
  };
}

void FakeJobService::AddJobsWatch(JobsWatch watch) {
  MutexLock lock(mutex_);
  jobs_watches_.push_back(std::move(watch));
}

void FakeJobService::AddArtifact(const v1::Artifact& artifact) {
  MutexLock lock(mutex_);
  artifacts_.push_back(artifact);
}

void FakeJobService::AddArtifactAfter(int listings, const v1::Artifact& artifact) {
  MutexLock lock(mutex_);
  late_artifacts_.emplace_back(listings, artifact);
}

void FakeJobService::AddSend(Send send) {
  MutexLock lock(mutex_);
  sends_.push_back(std::move(send));
}

void FakeJobService::SetLog(std::string log) {
  MutexLock lock(mutex_);
  log_ = std::move(log);
}

std::vector<v1::SubmitJobRequest> FakeJobService::submitted() {
  MutexLock lock(mutex_);
  return submitted_;
}

std::vector<v1::WatchJobRequest> FakeJobService::watched() {
  MutexLock lock(mutex_);
  return watched_;
}

std::vector<v1::WatchJobsRequest> FakeJobService::jobs_watched() {
  MutexLock lock(mutex_);
  return jobs_watched_;
}

std::vector<v1::DownloadArtifactRequest> FakeJobService::downloaded() {
  MutexLock lock(mutex_);
  return downloaded_;
}

std::vector<std::string> FakeJobService::cancelled() {
  MutexLock lock(mutex_);
  return cancelled_;
}

std::vector<v1::CancelJobsRequest> FakeJobService::cancelled_by_filter() {
  MutexLock lock(mutex_);
  return cancelled_by_filter_;
}

void FakeJobService::AddHistory(const v1::Segment& segment) {
  MutexLock lock(mutex_);
  history_.push_back(segment);
}

void FakeJobService::AddEvent(const v1::JobEvent& event) {
  MutexLock lock(mutex_);
  events_.push_back(event);
}

void FakeJobService::SetReport(const v1::Report& report) {
  MutexLock lock(mutex_);
  report_ = report;
}

std::vector<v1::GetReportRequest> FakeJobService::reports_asked_for() {
  MutexLock lock(mutex_);
  return reports_asked_for_;
}

std::vector<v1::QueryHistoryRequest> FakeJobService::queried() {
  MutexLock lock(mutex_);
  return queried_;
}

std::vector<v1::ListJobsRequest> FakeJobService::listed() {
  MutexLock lock(mutex_);
  return listed_;
}

grpc::Status FakeJobService::NextFailure(const std::string& method) {
  MutexLock lock(mutex_);
  std::deque<grpc::Status>& waiting = failures_[method];
  if (waiting.empty()) return grpc::Status::OK;
  const grpc::Status status = waiting.front();
  waiting.pop_front();
  return status;
}

grpc::Status FakeJobService::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request, v1::Job* job) {
  {
    MutexLock lock(mutex_);
    submitted_.push_back(*request);
  }
  if (const grpc::Status failure = NextFailure("SubmitJob"); !failure.ok()) return failure;
  *job->mutable_spec() = request->spec();
  *job->mutable_resolved_spec() = request->spec();
  job->set_name(request->spec().name());
  if (request->validate_only()) return grpc::Status::OK;
  MutexLock lock(mutex_);
  job->set_id(absl::StrCat("01jsbmtted0000000000000", 100 + jobs_.size()));
  job->set_state(v1::Job::QUEUED);
  jobs_.insert(jobs_.begin(), *job);
  return grpc::Status::OK;
}

grpc::Status FakeJobService::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* job) {
  if (const grpc::Status failure = NextFailure("GetJob"); !failure.ok()) return failure;
  MutexLock lock(mutex_);
  for (const v1::Job& known : jobs_) {
    if (known.id() != request->job_id()) continue;
    *job = known;
    return grpc::Status::OK;
  }
  return ErrorWith(grpc::StatusCode::NOT_FOUND, "there is no job with this id", "JOB_NOT_FOUND");
}

grpc::Status FakeJobService::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                      v1::ListJobsResponse* response) {
  if (const grpc::Status failure = NextFailure("ListJobs"); !failure.ok()) return failure;
  MutexLock lock(mutex_);
  listed_.push_back(*request);
  std::size_t at = request->page_token().empty() ? 0 : std::stoul(request->page_token());
  for (; at < jobs_.size() && response->jobs_size() < request->page_size(); ++at) {
    const v1::Job& job = jobs_[at];
    const auto& states = request->filter().states();
    if (!request->filter().name().empty() && job.spec().name() != request->filter().name()) continue;
    if (!states.empty() && std::find(states.begin(), states.end(), job.state()) == states.end()) continue;
    *response->add_jobs() = job;
  }
  if (at < jobs_.size()) response->set_next_page_token(std::to_string(at));
  return grpc::Status::OK;
}

grpc::Status FakeJobService::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request, v1::Job* job) {
  MutexLock lock(mutex_);
  cancelled_.push_back(request->job_id());
  for (v1::Job& known : jobs_) {
    if (known.id() != request->job_id()) continue;
    known.set_state(v1::Job::CANCELLING);
    *job = known;
  }
  return grpc::Status::OK;
}

grpc::Status FakeJobService::CancelJobs(grpc::ServerContext*, const v1::CancelJobsRequest* request,
                                        v1::CancelJobsResponse* response) {
  MutexLock lock(mutex_);
  cancelled_by_filter_.push_back(*request);
  for (const v1::Job& known : jobs_) response->add_job_ids(known.id());
  return grpc::Status::OK;
}

std::vector<v1::UpdateJobRequest> FakeJobService::updated() {
  MutexLock lock(mutex_);
  return updated_;
}

std::vector<std::string> FakeJobService::asked() {
  MutexLock lock(mutex_);
  return asked_;
}

grpc::Status FakeJobService::Ask(const std::string& what, const std::string& job_id, v1::Job::State state,
                                 v1::Job* job) {
  if (const grpc::Status failure = NextFailure(what); !failure.ok()) return failure;
  MutexLock lock(mutex_);
  asked_.push_back(absl::StrCat(what, " ", job_id));
  for (v1::Job& known : jobs_) {
    if (known.id() != job_id) continue;
    known.set_state(state);
    *job = known;
  }
  return grpc::Status::OK;
}

grpc::Status FakeJobService::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request, v1::Job* job) {
  return Ask("pause", request->job_id(), v1::Job::PAUSING, job);
}

grpc::Status FakeJobService::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request, v1::Job* job) {
  return Ask("resume", request->job_id(), v1::Job::QUEUED, job);
}

grpc::Status FakeJobService::UpdateJob(grpc::ServerContext*, const v1::UpdateJobRequest* request, v1::Job* job) {
  MutexLock lock(mutex_);
  updated_.push_back(*request);
  job->set_id(request->job_id());
  job->set_name("digits");
  job->set_spec_revision(2);
  return grpc::Status::OK;
}

grpc::Status FakeJobService::DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                                       v1::DeleteJobResponse*) {
  v1::Job job;
  return Ask("delete", request->job_id(), v1::Job::SUCCEEDED, &job);
}

grpc::Status FakeJobService::WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                                      grpc::ServerWriter<v1::WatchJobResponse>* writer) {
  Watch watch;
  {
    MutexLock lock(mutex_);
    watched_.push_back(*request);
    if (watches_.empty()) return grpc::Status(grpc::StatusCode::INTERNAL, "this test scripts no watch");
    watch = watches_.front();
    if (watches_.size() > 1) watches_.pop_front();
  }
  return watch(*request, context, writer);
}

grpc::Status FakeJobService::QueryHistory(grpc::ServerContext*, const v1::QueryHistoryRequest* request,
                                          v1::QueryHistoryResponse* response) {
  const grpc::Status failure = NextFailure("QueryHistory");
  if (!failure.ok()) return failure;
  MutexLock lock(mutex_);
  queried_.push_back(*request);
  const std::size_t at = request->page_token().empty() ? 0 : std::stoul(request->page_token());
  if (at < history_.size()) *response->add_segments() = history_[at];
  if (at + 1 < history_.size()) response->set_next_page_token(std::to_string(at + 1));
  return grpc::Status::OK;
}

grpc::Status FakeJobService::ListEvents(grpc::ServerContext*, const v1::ListEventsRequest*,
                                        v1::ListEventsResponse* response) {
  MutexLock lock(mutex_);
  for (const v1::JobEvent& event : events_) *response->add_events()->mutable_event() = event;
  return grpc::Status::OK;
}

grpc::Status FakeJobService::WatchJobs(grpc::ServerContext* context, const v1::WatchJobsRequest* request,
                                       grpc::ServerWriter<v1::WatchJobsResponse>* writer) {
  JobsWatch watch;
  {
    MutexLock lock(mutex_);
    jobs_watched_.push_back(*request);
    if (jobs_watches_.empty())
      return grpc::Status(grpc::StatusCode::INTERNAL, "this test scripts no watch of all jobs");
    watch = jobs_watches_.front();
    if (jobs_watches_.size() > 1) jobs_watches_.pop_front();
  }
  return watch(*request, context, writer);
}

grpc::Status FakeJobService::ReadLogs(grpc::ServerContext*, const v1::ReadLogsRequest* request,
                                      grpc::ServerWriter<v1::ReadLogsResponse>* writer) {
  std::string log;
  {
    MutexLock lock(mutex_);
    log = log_;
  }
  v1::ReadLogsResponse response;
  const auto from = static_cast<std::size_t>(request->offset());
  if (from < log.size()) response.set_data(log.substr(from));
  response.set_offset(request->offset());
  response.set_attempt(1);
  writer->Write(response);
  return NextFailure("ReadLogs");
}

grpc::Status FakeJobService::ListArtifacts(grpc::ServerContext*, const v1::ListArtifactsRequest*,
                                           v1::ListArtifactsResponse* response) {
  MutexLock lock(mutex_);
  for (auto& [listings, artifact] : late_artifacts_) {
    if (listings-- == 0) artifacts_.push_back(artifact);
  }
  for (const v1::Artifact& artifact : artifacts_) *response->add_artifacts() = artifact;
  return grpc::Status::OK;
}

grpc::Status FakeJobService::DownloadArtifact(grpc::ServerContext*, const v1::DownloadArtifactRequest* request,
                                              grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
  Send send;
  {
    MutexLock lock(mutex_);
    downloaded_.push_back(*request);
    if (sends_.empty()) return grpc::Status(grpc::StatusCode::INTERNAL, "this test scripts no download");
    send = sends_.front();
    if (sends_.size() > 1) sends_.pop_front();
  }
  return send(*request, writer);
}

grpc::Status FakeJobService::GetReport(grpc::ServerContext*, const v1::GetReportRequest* request,
                                       v1::GetReportResponse* response) {
  if (const grpc::Status failure = NextFailure("GetReport"); !failure.ok()) return failure;
  MutexLock lock(mutex_);
  reports_asked_for_.push_back(*request);
  *response->mutable_report() = report_;
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                                             v1::ServerInfo* info) {
  info->set_version("0.1.0");
  info->set_grpc_version("1.51.1");
  info->set_store("sqlite");
  info->set_schema_version(1);
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                           v1::ListWorkersResponse* response) {
  v1::Worker& worker = *response->add_workers();
  worker.set_id("ws-1");
  worker.set_connected(true);
  worker.add_devices()->set_id("cpu-0");
  v1::Root& root = *worker.add_roots();
  root.set_name("data");
  root.set_free_bytes(std::int64_t{100} << 30);
  worker.mutable_last_seen_time()->set_seconds(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request,
                                           v1::Worker* worker) {
  worker->set_id(request->worker_id());
  worker->set_draining(!request->undo());
  if (!request->undo()) worker->add_attempts()->set_attempt(1);
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::RequeueJob(grpc::ServerContext*, const v1::RequeueJobRequest* request, v1::Job* job) {
  job->set_id(request->job_id());
  job->set_state(v1::Job::RUNNING);
  return grpc::Status::OK;
}

FakeServer::FakeServer() : FakeServer("127.0.0.1:0") {}

FakeServer::FakeServer(const std::string& address) {
  int port = 0;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&jobs_);
  builder.RegisterService(&admin_);
  server_ = builder.BuildAndStart();
  SayReady(true);
  address_ = absl::StrCat("127.0.0.1:", port);
}

void FakeServer::SayReady(bool ready) {
  server_->GetHealthCheckService()->SetServingStatus("mantissa.v1.JobService", ready);
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

grpc::Status ErrorWith(grpc::StatusCode code, const std::string& message, const std::string& reason,
                       const std::map<std::string, std::string>& violations) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("mantissa.dev");
  status.add_details()->PackFrom(info);
  if (!violations.empty()) {
    google::rpc::BadRequest bad;
    for (const auto& [field, description] : violations) {
      auto* violation = bad.add_field_violations();
      violation->set_field(field);
      violation->set_description(description);
    }
    status.add_details()->PackFrom(bad);
  }
  return grpc::Status(code, message, status.SerializeAsString());
}

}  // namespace mantissa::cli
