#include "server/rpc/scaler/external_scaler.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "server/core/scheduler.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/scaler/active_stream.h"
#include "server/rpc/scaler/scaler_metadata.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

constexpr char kMetric[] = "mantissa_queued_jobs";

// Nobody starts more workers at a time.
constexpr int64_t kMostCounted = 100'000;

}  // namespace

grpc::ServerUnaryReactor* ExternalScaler::IsActive(Context* context, const Ref* request,
                                                   externalscaler::IsActiveResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "externalscaler.ExternalScaler/IsActive");
  if (!call->admitted()) return call;
  absl::StatusOr<ScalerTrigger> trigger = ParseScalerMetadata(request->scalermetadata());
  if (!trigger.ok()) {
    call->Reply(trigger.status());
    return call;
  }
  trigger->filter.tenant = call->caller().reach;
  call->ReplyFromState([filter = std::move(trigger->filter), response](const Scheduler& scheduler, Moment) {
    response->set_result(scheduler.CountQueued(filter, /*most=*/1) > 0);
    return absl::OkStatus();
  });
  return call;
}

grpc::ServerWriteReactor<externalscaler::IsActiveResponse>* ExternalScaler::StreamIsActive(Context* context,
                                                                                           const Ref* request) {
  return ActiveStream::Start<ActiveStream>(backend_, *context, *request);
}

grpc::ServerUnaryReactor* ExternalScaler::GetMetricSpec(Context* context, const Ref* request,
                                                        externalscaler::GetMetricSpecResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "externalscaler.ExternalScaler/GetMetricSpec");
  if (!call->admitted()) return call;
  const absl::StatusOr<ScalerTrigger> trigger = ParseScalerMetadata(request->scalermetadata());
  if (trigger.ok()) {
    externalscaler::MetricSpec& spec = *response->add_metricspecs();
    spec.set_metricname(kMetric);
    spec.set_targetsize(trigger->jobs_per_worker);
    spec.set_targetsizefloat(static_cast<double>(trigger->jobs_per_worker));
  }
  call->Reply(trigger.status());
  return call;
}

grpc::ServerUnaryReactor* ExternalScaler::GetMetrics(Context* context, const externalscaler::GetMetricsRequest* request,
                                                     externalscaler::GetMetricsResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "externalscaler.ExternalScaler/GetMetrics");
  if (!call->admitted()) return call;
  if (request->metricname() != kMetric) {
    call->Reply(InvalidField("metricName", absl::StrCat("is none of this scaler's; ", kMetric, " is the only one")));
    return call;
  }
  absl::StatusOr<ScalerTrigger> trigger = ParseScalerMetadata(request->scaledobjectref().scalermetadata());
  if (!trigger.ok()) {
    call->Reply(trigger.status());
    return call;
  }
  trigger->filter.tenant = call->caller().reach;
  call->ReplyFromState([filter = std::move(trigger->filter), response](const Scheduler& scheduler, Moment) {
    const int64_t queued = scheduler.CountQueued(filter, kMostCounted);
    externalscaler::MetricValue& value = *response->add_metricvalues();
    value.set_metricname(kMetric);
    value.set_metricvalue(queued);
    value.set_metricvaluefloat(static_cast<double>(queued));
    return absl::OkStatus();
  });
  return call;
}

}  // namespace mantissa::server
