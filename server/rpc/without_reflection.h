#pragma once

#include "grpcpp/server_builder.h"

namespace mantissa::server {

// Reflection is not served by this one: its library brings it to every server of the process, and asks nobody.
void TakeAwayReflection(grpc::ServerBuilder& builder);

}  // namespace mantissa::server
