// Fields that a newer client sent and this build's messages do not have.
#pragma once

#include <google/protobuf/message.h>

#include "proto/spec/checker.h"

namespace mantissa::spec {

// One violation for each message, at any depth, that carries fields this build does not know. Parsing keeps them
// silently, and a job that ran without them would not be the job that was asked for.
void CheckUnknownFields(const google::protobuf::Message& message, Checker checker);

}  // namespace mantissa::spec
