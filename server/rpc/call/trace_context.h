#pragma once

#include <string>
#include <string_view>

#include "grpcpp/server_context.h"

namespace mantissa::server {

// The trace id in a `traceparent` (www.w3.org/TR/trace-context, section 3.2): 32 lower-case hexadecimal digits, not all
// of them 0. Empty where the text is none: a caller whose tracing is broken still gets its job.
std::string TraceIdIn(std::string_view traceparent);

// Of the caller's own trace, which the job is to be part of; empty where it sent none, or more than one.
std::string CallersTraceId(const grpc::CallbackServerContext& context);

}  // namespace mantissa::server
