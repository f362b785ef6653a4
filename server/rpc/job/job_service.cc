#include "server/rpc/job/job_service.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "server/rpc/call/trace_context.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/job/cancel_jobs.h"
#include "server/rpc/job/change_job.h"
#include "server/rpc/job/download_artifact.h"
#include "server/rpc/job/list_jobs.h"
#include "server/rpc/job/query_history.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/job/read_logs.h"
#include "server/rpc/job/read_report.h"
#include "server/rpc/job/submit.h"
#include "server/rpc/job/watch_job.h"
#include "server/rpc/job/watch_jobs.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status.h"
#include "server/telemetry/telemetry_hub.h"

namespace mantissa::server {
JobService::Unary* JobService::SubmitJob(Context* context, const v1::SubmitJobRequest* request, v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/SubmitJob");
  if (!call->admitted()) return call;
  SubmitOne(backend_, call, *request, CallersTraceId(*context), *job);
  return call;
}

JobService::Unary* JobService::SubmitJobs(Context* context, const v1::SubmitJobsRequest* request,
                                          v1::SubmitJobsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/SubmitJobs");
  if (!call->admitted()) return call;
  backend_.pool.Post(call->caller().tenant, [this, call, request, trace_id = CallersTraceId(*context), response] {
    SubmitMany(backend_, call, *request, trace_id, *response);
  });
  return call;
}

JobService::Unary* JobService::GetJob(Context* context, const v1::GetJobRequest* request, v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/GetJob");
  if (!call->admitted()) return call;
  if (!v1::JobView::Level_IsValid(request->view())) {
    call->Reply(InvalidField("view", "is none; BASIC or FULL"));
    return call;
  }
  backend_.pool.Post(call->caller().tenant, [this, call, request, job] {
    absl::StatusOr<v1::Job> read = ReadJob(backend_, call->caller(), request->job_id());
    if (!read.ok()) return call->Reply(read.status());
    *job = request->view() == v1::JobView::BASIC ? BasicView(*read) : *std::move(read);
    ReplyDecorated(call, job);
  });
  return call;
}

JobService::Unary* JobService::ListJobs(Context* context, const v1::ListJobsRequest* request,
                                        v1::ListJobsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ListJobs");
  if (!call->admitted()) return call;
  backend_.pool.Post(call->caller().tenant, [this, call, request, response] {
    const absl::Status listed = ListJobsPage(backend_, call->caller().reach, *request, *response);
    if (!listed.ok()) return call->Reply(listed);
    call->ReplyFromState([response](const Scheduler& scheduler, Moment now) {
      for (v1::Job& job : *response->mutable_jobs()) {
        if (!HasEnded(job.state())) scheduler.Decorate(job, now);
      }
      return absl::OkStatus();
    });
  });
  return call;
}

JobService::Unary* JobService::CancelJob(Context* context, const v1::CancelJobRequest* request, v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/CancelJob");
  if (!call->admitted()) return call;
  ChangeJob(backend_, call, request->job_id(), request->etag(), &Scheduler::Cancel, OnEnded::kIsFine, *job);
  return call;
}

JobService::Unary* JobService::PauseJob(Context* context, const v1::PauseJobRequest* request, v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/PauseJob");
  if (!call->admitted()) return call;
  ChangeJob(backend_, call, request->job_id(), request->etag(), &Scheduler::Pause, OnEnded::kRefuse, *job);
  return call;
}

JobService::Unary* JobService::ResumeJob(Context* context, const v1::ResumeJobRequest* request, v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ResumeJob");
  if (!call->admitted()) return call;
  ChangeJob(backend_, call, request->job_id(), request->etag(), &Scheduler::Resume, OnEnded::kRefuse, *job);
  return call;
}

JobService::Unary* JobService::UpdateJob(Context* context, const v1::UpdateJobRequest* request, v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/UpdateJob");
  if (!call->admitted()) return call;
  backend_.pool.Post(call->caller().tenant, [this, call, request, job] { UpdateOne(backend_, call, *request, *job); });
  return call;
}

JobService::Unary* JobService::DeleteJob(Context* context, const v1::DeleteJobRequest* request,
                                         v1::DeleteJobResponse*) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/DeleteJob");
  if (!call->admitted()) return call;
  backend_.pool.Post(call->caller().tenant, [this, call, request] { DeleteOne(backend_, call, *request); });
  return call;
}

JobService::Unary* JobService::CancelJobs(Context* context, const v1::CancelJobsRequest* request,
                                          v1::CancelJobsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/CancelJobs");
  if (!call->admitted()) return call;
  backend_.pool.Post(call->caller().tenant,
                     [this, call, request, response] { CancelMany(backend_, call, *request, *response); });
  return call;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* JobService::WatchJob(Context* context, const grpc::ByteBuffer* request) {
  return WatchJobStream::Start<WatchJobStream>(backend_, *context, request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* JobService::WatchJobs(Context* context, const grpc::ByteBuffer* request) {
  return WatchJobsStream::Start<WatchJobsStream>(backend_, *context, request);
}

JobService::Unary* JobService::ListAttempts(Context* context, const v1::ListAttemptsRequest* request,
                                            v1::ListAttemptsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ListAttempts");
  if (!call->admitted()) return call;
  call->ReplyFromPool([this, call, request, response]() -> absl::Status {
    const absl::Status found = FindJob(backend_, call->caller(), request->job_id());
    if (!found.ok()) return found;
    absl::StatusOr<std::vector<v1::Attempt>> attempts = backend_.store.ListAttempts(request->job_id());
    if (!attempts.ok()) return attempts.status();
    return TakePage(
        *request, *attempts, [](const v1::Attempt& attempt) { return std::to_string(attempt.number()); },
        *response->mutable_attempts(), *response->mutable_next_page_token());
  });
  return call;
}

JobService::Unary* JobService::ListEvents(Context* context, const v1::ListEventsRequest* request,
                                          v1::ListEventsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ListEvents");
  if (!call->admitted()) return call;
  call->ReplyFromPool([this, call, request, response]() -> absl::Status {
    if (!v1::JobEvent::Severity_IsValid(request->min_severity())) {
      return InvalidField("min_severity", "is none; INFO, WARNING or ERROR");
    }
    const absl::Status found = FindJob(backend_, call->caller(), request->job_id());
    if (!found.ok()) return found;
    v1::ListEventsRequest query;
    const absl::StatusOr<PageRequest> page = ParsePage(*request, query);
    if (!page.ok()) return page.status();
    int64_t after = 0;
    std::from_chars(page->after.data(), page->after.data() + page->after.size(), after);
    // One more than fits says whether there is a next page.
    absl::StatusOr<TelemetryPage> events =
        backend_.store.ListEvents(request->job_id(), after + 1, request->min_severity(), page->size + 1);
    if (!events.ok()) return events.status();
    size_t bytes = 0;
    for (v1::Segment& event : events->segments) {
      if (response->events_size() == page->size || bytes >= kMaxPageBytes) {
        response->set_next_page_token(
            EncodePageToken(std::to_string(response->events().rbegin()->first_sequence()), query));
        break;
      }
      bytes += event.ByteSizeLong();
      *response->add_events() = std::move(event);
    }
    return absl::OkStatus();
  });
  return call;
}

grpc::ServerWriteReactor<v1::ReadLogsResponse>* JobService::ReadLogs(Context* context,
                                                                     const v1::ReadLogsRequest* request) {
  return ReadLogsStream::Start<ReadLogsStream>(backend_, *context, *request);
}

JobService::Unary* JobService::ListCheckpoints(Context* context, const v1::ListCheckpointsRequest* request,
                                               v1::ListCheckpointsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ListCheckpoints");
  if (!call->admitted()) return call;
  call->ReplyFromPool([this, call, request, response]() -> absl::Status {
    const absl::Status found = FindJob(backend_, call->caller(), request->job_id());
    if (!found.ok()) return found;
    absl::StatusOr<std::vector<v1::Checkpoint>> checkpoints = backend_.store.ListCheckpoints(request->job_id());
    if (!checkpoints.ok()) return checkpoints.status();
    return TakePage(
        *request, *checkpoints, [](const v1::Checkpoint& checkpoint) { return checkpoint.name(); },
        *response->mutable_checkpoints(), *response->mutable_next_page_token());
  });
  return call;
}

JobService::Unary* JobService::ListArtifacts(Context* context, const v1::ListArtifactsRequest* request,
                                             v1::ListArtifactsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ListArtifacts");
  if (!call->admitted()) return call;
  call->ReplyFromPool([this, call, request, response]() -> absl::Status {
    const absl::Status found = FindJob(backend_, call->caller(), request->job_id());
    if (!found.ok()) return found;
    absl::StatusOr<std::vector<ArtifactWrite>> artifacts = backend_.store.ListArtifacts(request->job_id());
    if (!artifacts.ok()) return artifacts.status();
    std::vector<v1::Artifact> listed;
    for (ArtifactWrite& write : *artifacts) listed.push_back(std::move(write.artifact));
    return TakePage(
        *request, listed, [](const v1::Artifact& artifact) { return artifact.name(); }, *response->mutable_artifacts(),
        *response->mutable_next_page_token());
  });
  return call;
}

grpc::ServerWriteReactor<v1::DownloadArtifactResponse>* JobService::DownloadArtifact(
    Context* context, const v1::DownloadArtifactRequest* request) {
  return DownloadArtifactStream::Start<DownloadArtifactStream>(backend_, *context, *request);
}

JobService::Unary* JobService::ListRoots(Context* context, const v1::ListRootsRequest* request,
                                         v1::ListRootsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/ListRoots");
  if (!call->admitted()) return call;
  call->ReplyFromState([request, response](const Scheduler& scheduler, Moment now) {
    std::vector<v1::WorkerRoots> listed;
    for (v1::Worker& worker : scheduler.Workers(now)) {
      v1::WorkerRoots& roots = listed.emplace_back();
      roots.set_worker_id(worker.id());
      *roots.mutable_roots() = std::move(*worker.mutable_roots());
      roots.set_connected(worker.connected());
    }
    std::sort(listed.begin(), listed.end(),
              [](const v1::WorkerRoots& a, const v1::WorkerRoots& b) { return a.worker_id() < b.worker_id(); });
    return TakePage(
        *request, listed, [](const v1::WorkerRoots& roots) { return roots.worker_id(); }, *response->mutable_workers(),
        *response->mutable_next_page_token());
  });
  return call;
}

JobService::Unary* JobService::QueryHistory(Context* context, const v1::QueryHistoryRequest* request,
                                            v1::QueryHistoryResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/QueryHistory");
  if (!call->admitted()) return call;
  call->ReplyFromPool(
      [this, call, request, response] { return QueryHistoryPage(backend_, call->caller(), *request, *response); });
  return call;
}

JobService::Unary* JobService::GetReport(Context* context, const v1::GetReportRequest* request,
                                         v1::GetReportResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "JobService/GetReport");
  if (!call->admitted()) return call;
  call->ReplyFromPool(
      [this, call, request, response] { return ReadReport(backend_, call->caller(), *request, *response); });
  return call;
}

}  // namespace mantissa::server
