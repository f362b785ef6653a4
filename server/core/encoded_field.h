// A message written as one more field of another that exists only as bytes.
#pragma once

#include <string>

#include "google/protobuf/message_lite.h"

namespace mantissa::server {

// Bytes of several, one after the other, parse as one message with all of them in its repeated field `number`; so it is
// made without copying any.
void AppendEncodedField(int number, const google::protobuf::MessageLite& message, std::string& bytes);

}  // namespace mantissa::server
