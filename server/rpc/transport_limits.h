#pragma once

#include "grpcpp/server_builder.h"

namespace mantissa::server {

// What gRPC itself lets peers do, whoever they are, the same at every port of ours; what it does not hold back is the
// flood guard's. A port that another program has is refused, not shared.
void SetTransportLimits(grpc::ServerBuilder& builder);

}  // namespace mantissa::server
