#include "server/rpc/admin_service.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "grpcpp/grpcpp.h"

#include "proto/spec/features.h"
#include "server/core/errors.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/job/change_job.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status.h"

#ifndef MANTISSA_VERSION
#error "MANTISSA_VERSION comes from the build"
#endif

namespace mantissa::server {
namespace {

v1::Worker WithoutTokens(v1::Worker worker) {
  for (v1::AttemptRef& ref : *worker.mutable_attempts()) ref.clear_token();
  return worker;
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::ListWorkers(Context* context, const v1::ListWorkersRequest* request,
                                                    v1::ListWorkersResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "AdminService/ListWorkers");
  if (!call->admitted()) return call;
  // What runs on a worker may be anybody's.
  const bool shows_attempts = call->caller().anyone || call->caller().reach.empty();
  call->ReplyFromState([request, response, shows_attempts](const Scheduler& scheduler, Moment now) {
    std::vector<v1::Worker> workers = scheduler.Workers(now);
    std::sort(workers.begin(), workers.end(), [](const v1::Worker& a, const v1::Worker& b) { return a.id() < b.id(); });
    for (v1::Worker& worker : workers) {
      if (!shows_attempts) worker.clear_attempts();
      worker = WithoutTokens(std::move(worker));
    }
    return TakePage(
        *request, workers, [](const v1::Worker& worker) { return worker.id(); }, *response->mutable_workers(),
        *response->mutable_next_page_token());
  });
  return call;
}

grpc::ServerUnaryReactor* AdminService::GetServerInfo(Context* context, const v1::GetServerInfoRequest*,
                                                      v1::ServerInfo* response) {
  auto* const call = new UnaryCall(backend_, *context, "AdminService/GetServerInfo");
  if (!call->admitted()) return call;
  response->set_version(MANTISSA_VERSION);
  response->set_grpc_version(grpc::Version());
  response->set_store(identity_.store);
  response->set_schema_version(identity_.schema_version);
  response->set_epoch(identity_.epoch);
  const auto since_1970 = std::chrono::duration_cast<std::chrono::nanoseconds>(identity_.start_time.time_since_epoch());
  *response->mutable_start_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(since_1970.count());
  for (const std::string& feature : spec::BuiltFeatures()) response->add_features(feature);
  call->Reply(absl::OkStatus());
  return call;
}

grpc::ServerUnaryReactor* AdminService::DrainWorker(Context* context, const v1::DrainWorkerRequest* request,
                                                    v1::Worker* worker) {
  auto* const call = new UnaryCall(backend_, *context, "AdminService/DrainWorker");
  if (!call->admitted()) return call;
  call->ReplyAfterCommit([request, worker](Scheduler& scheduler, Moment now, Changes& changes) {
    absl::StatusOr<v1::Worker> drained = scheduler.DrainWorker(request->worker_id(), request->undo(), now, changes);
    if (absl::IsNotFound(drained.status())) {
      return ErrorWithReason(absl::StatusCode::kNotFound, "WORKER_NOT_FOUND",
                             "worker_id: this server has not heard of such a worker; ListWorkers names them");
    }
    if (drained.ok()) *worker = WithoutTokens(*std::move(drained));
    return drained.status();
  });
  return call;
}

grpc::ServerUnaryReactor* AdminService::RequeueJob(Context* context, const v1::RequeueJobRequest* request,
                                                   v1::Job* job) {
  auto* const call = new UnaryCall(backend_, *context, "AdminService/RequeueJob");
  if (!call->admitted()) return call;
  ChangeJob(backend_, call, request->job_id(), request->etag(), &Scheduler::Requeue, OnEnded::kRefuse, *job);
  return call;
}

}  // namespace mantissa::server
