// A JobService and an AdminService that answer what a test tells them to, over a real socket.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "mantissa/v1/admin_service.grpc.pb.h"
#include "mantissa/v1/job_service.grpc.pb.h"
#include "process/mutex.h"

namespace mantissa::cli {

// Jobs in memory; everything else is scripted. Thread-safe.
class FakeJobService final : public v1::JobService::Service {
 public:
  using Frames = std::vector<v1::WatchJobResponse>;
  // One WatchJob call: writes frames, returns the call's status.
  using Watch = std::function<grpc::Status(const v1::WatchJobRequest&, grpc::ServerContext*,
                                           grpc::ServerWriter<v1::WatchJobResponse>*)>;
  using JobsFrames = std::vector<v1::WatchJobsResponse>;
  // One WatchJobs call.
  using JobsWatch = std::function<grpc::Status(const v1::WatchJobsRequest&, grpc::ServerContext*,
                                               grpc::ServerWriter<v1::WatchJobsResponse>*)>;
  // One DownloadArtifact call.
  using Send = std::function<grpc::Status(const v1::DownloadArtifactRequest&,
                                          grpc::ServerWriter<v1::DownloadArtifactResponse>*)>;

  void AddJob(const v1::Job& job);
  void SetJob(const v1::Job& job);
  // The next call of this kind fails with the status.
  void FailNext(const std::string& method, const grpc::Status& status);
  // Answers WatchJob calls in turn; the last one stays.
  void AddWatch(Watch watch);
  // A watch that sends the frames and ends well.
  static Watch Sends(Frames frames);
  // Answers WatchJobs calls in turn; the last one stays.
  void AddJobsWatch(JobsWatch watch);
  void AddArtifact(const v1::Artifact& artifact);
  // It is there from the listing after so many on.
  void AddArtifactAfter(int listings, const v1::Artifact& artifact);
  void AddSend(Send send);
  void SetLog(std::string log);
  void AddHistory(const v1::Segment& segment);
  void AddEvent(const v1::JobEvent& event);
  // What GetReport answers, whatever job and section it is asked for.
  void SetReport(const v1::Report& report);

  std::vector<v1::SubmitJobRequest> submitted();
  std::vector<v1::WatchJobRequest> watched();
  std::vector<v1::WatchJobsRequest> jobs_watched();
  std::vector<v1::DownloadArtifactRequest> downloaded();
  std::vector<std::string> cancelled();
  std::vector<v1::CancelJobsRequest> cancelled_by_filter();
  std::vector<v1::ListJobsRequest> listed();
  std::vector<v1::QueryHistoryRequest> queried();
  std::vector<v1::UpdateJobRequest> updated();
  std::vector<v1::GetReportRequest> reports_asked_for();
  // "pause <id>", "resume <id>", "delete <id>", in order.
  std::vector<std::string> asked();

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request, v1::Job* job) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* job) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request, v1::Job* job) override;
  // Names every job.
  grpc::Status CancelJobs(grpc::ServerContext*, const v1::CancelJobsRequest* request,
                          v1::CancelJobsResponse* response) override;
  grpc::Status PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request, v1::Job* job) override;
  grpc::Status ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request, v1::Job* job) override;
  grpc::Status UpdateJob(grpc::ServerContext*, const v1::UpdateJobRequest* request, v1::Job* job) override;
  grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse* response) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override;
  grpc::Status WatchJobs(grpc::ServerContext* context, const v1::WatchJobsRequest* request,
                         grpc::ServerWriter<v1::WatchJobsResponse>* writer) override;
  // A segment a page.
  grpc::Status QueryHistory(grpc::ServerContext*, const v1::QueryHistoryRequest* request,
                            v1::QueryHistoryResponse* response) override;
  // All on one page.
  grpc::Status ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                          v1::ListEventsResponse* response) override;
  grpc::Status ReadLogs(grpc::ServerContext*, const v1::ReadLogsRequest* request,
                        grpc::ServerWriter<v1::ReadLogsResponse>* writer) override;
  grpc::Status ListArtifacts(grpc::ServerContext*, const v1::ListArtifactsRequest* request,
                             v1::ListArtifactsResponse* response) override;
  grpc::Status DownloadArtifact(grpc::ServerContext*, const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override;
  grpc::Status GetReport(grpc::ServerContext*, const v1::GetReportRequest* request,
                         v1::GetReportResponse* response) override;

 private:
  // The failure that waits for this method, if there is one.
  grpc::Status NextFailure(const std::string& method);
  grpc::Status Ask(const std::string& what, const std::string& job_id, v1::Job::State state, v1::Job* job);

  process::Mutex mutex_;
  std::vector<v1::Job> jobs_ ABSL_GUARDED_BY(mutex_);  // newest first
  std::map<std::string, std::deque<grpc::Status>> failures_ ABSL_GUARDED_BY(mutex_);
  std::deque<Watch> watches_ ABSL_GUARDED_BY(mutex_);
  std::deque<JobsWatch> jobs_watches_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::WatchJobsRequest> jobs_watched_ ABSL_GUARDED_BY(mutex_);
  std::deque<Send> sends_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Artifact> artifacts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<int, v1::Artifact>> late_artifacts_ ABSL_GUARDED_BY(mutex_);
  std::string log_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Segment> history_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::JobEvent> events_ ABSL_GUARDED_BY(mutex_);
  v1::Report report_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::GetReportRequest> reports_asked_for_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::QueryHistoryRequest> queried_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SubmitJobRequest> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::WatchJobRequest> watched_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::DownloadArtifactRequest> downloaded_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CancelJobsRequest> cancelled_by_filter_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::ListJobsRequest> listed_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::UpdateJobRequest> updated_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> asked_ ABSL_GUARDED_BY(mutex_);
};

// One worker, one server. Thread-safe.
class FakeAdminService final : public v1::AdminService::Service {
 public:
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*, v1::ServerInfo* info) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse* response) override;
  // Of its one worker.
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request, v1::Worker* worker) override;
  grpc::Status RequeueJob(grpc::ServerContext*, const v1::RequeueJobRequest* request, v1::Job* job) override;
};

// Serves both on a free port of the loopback until it goes. Not thread-safe.
class FakeServer {
 public:
  FakeServer();
  // Serves on this address again, as a restarted server does.
  explicit FakeServer(const std::string& address);
  ~FakeServer();

  FakeJobService& jobs() { return jobs_; }
  const std::string& address() const { return address_; }
  // To grpc.health.v1, of the API. True at first.
  void SayReady(bool ready);

 private:
  FakeJobService jobs_;
  FakeAdminService admin_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

// An error as the server makes it.
grpc::Status ErrorWith(grpc::StatusCode code, const std::string& message, const std::string& reason,
                       const std::map<std::string, std::string>& violations = {});

}  // namespace mantissa::cli
