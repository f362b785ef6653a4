#pragma once

#include "externalscaler/externalscaler.grpc.pb.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// Answers KEDA, which starts workers when jobs wait. The one metric is how many jobs, of those that the caller sees,
// wait and could be placed if there were a device for them: neither running ones nor those in back-off, so a ScaledJob
// on it wants KEDA's `accurate` strategy. Thread-safe.
class ExternalScaler final : public externalscaler::ExternalScaler::CallbackService {
 public:
  // `backend` outlives the service.
  explicit ExternalScaler(Backend& backend) : backend_(backend) {}

  using Context = grpc::CallbackServerContext;
  using Ref = externalscaler::ScaledObjectRef;

  grpc::ServerUnaryReactor* IsActive(Context*, const Ref* request, externalscaler::IsActiveResponse* response) override;
  grpc::ServerWriteReactor<externalscaler::IsActiveResponse>* StreamIsActive(Context*, const Ref* request) override;
  grpc::ServerUnaryReactor* GetMetricSpec(Context*, const Ref* request,
                                          externalscaler::GetMetricSpecResponse* response) override;
  grpc::ServerUnaryReactor* GetMetrics(Context*, const externalscaler::GetMetricsRequest* request,
                                       externalscaler::GetMetricsResponse* response) override;

 private:
  Backend& backend_;
};

}  // namespace mantissa::server
