#pragma once

#include "mantissa/v1/job_service.grpc.pb.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// What submitters and watchers call. Every handler is decode, one call into store, core or telemetry, encode; it holds
// no state. WatchJob and WatchJobs deal in bytes: the frames of the one are put together from segments that were
// encoded once for all watchers, those of the other wait in their smallest form for a client that may not read.
// Thread-safe.
class JobService final : public v1::JobService::WithRawCallbackMethod_WatchJob<
                             v1::JobService::WithRawCallbackMethod_WatchJobs<v1::JobService::CallbackService>> {
 public:
  // `backend` outlives the service.
  explicit JobService(Backend& backend) : backend_(backend) {}

  using Unary = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;

  Unary* SubmitJob(Context* context, const v1::SubmitJobRequest* request, v1::Job* job) override;
  Unary* SubmitJobs(Context* context, const v1::SubmitJobsRequest* request, v1::SubmitJobsResponse* response) override;
  Unary* GetJob(Context* context, const v1::GetJobRequest* request, v1::Job* job) override;
  Unary* ListJobs(Context* context, const v1::ListJobsRequest* request, v1::ListJobsResponse* response) override;
  Unary* CancelJob(Context* context, const v1::CancelJobRequest* request, v1::Job* job) override;
  Unary* CancelJobs(Context* context, const v1::CancelJobsRequest* request, v1::CancelJobsResponse* response) override;
  Unary* PauseJob(Context* context, const v1::PauseJobRequest* request, v1::Job* job) override;
  Unary* ResumeJob(Context* context, const v1::ResumeJobRequest* request, v1::Job* job) override;
  Unary* UpdateJob(Context* context, const v1::UpdateJobRequest* request, v1::Job* job) override;
  Unary* DeleteJob(Context* context, const v1::DeleteJobRequest* request, v1::DeleteJobResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchJob(Context* context, const grpc::ByteBuffer* request) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchJobs(Context* context, const grpc::ByteBuffer* request) override;
  Unary* ListAttempts(Context* context, const v1::ListAttemptsRequest* request,
                      v1::ListAttemptsResponse* response) override;
  Unary* ListEvents(Context* context, const v1::ListEventsRequest* request, v1::ListEventsResponse* response) override;
  grpc::ServerWriteReactor<v1::ReadLogsResponse>* ReadLogs(Context* context,
                                                           const v1::ReadLogsRequest* request) override;
  Unary* ListCheckpoints(Context* context, const v1::ListCheckpointsRequest* request,
                         v1::ListCheckpointsResponse* response) override;
  Unary* ListArtifacts(Context* context, const v1::ListArtifactsRequest* request,
                       v1::ListArtifactsResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadArtifactResponse>* DownloadArtifact(
      Context* context, const v1::DownloadArtifactRequest* request) override;
  Unary* ListRoots(Context* context, const v1::ListRootsRequest* request, v1::ListRootsResponse* response) override;
  Unary* QueryHistory(Context* context, const v1::QueryHistoryRequest* request,
                      v1::QueryHistoryResponse* response) override;
  Unary* GetReport(Context* context, const v1::GetReportRequest* request, v1::GetReportResponse* response) override;

 private:
  Backend& backend_;
};

}  // namespace mantissa::server
