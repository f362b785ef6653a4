// What the fields of a message are called, what they look like, and where a name belongs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace mantissa::cli {

// The field of that name, snake_case or lowerCamelCase; null when there is none.
const google::protobuf::FieldDescriptor* FindField(const google::protobuf::Descriptor& message, std::string_view name);

// Names of all fields, as in the .proto.
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& message);

// Names of all values but the unspecified one.
std::vector<std::string> ValueNames(const google::protobuf::EnumDescriptor& type);

bool IsDuration(const google::protobuf::FieldDescriptor& field);
// A count of bytes, which takes units.
bool IsByteCount(const google::protobuf::FieldDescriptor& field);

// How the field is written: `64`, `[64]`, `30s`, `{ mlp: { hidden: [64] } }`.
std::string ExampleOf(const google::protobuf::FieldDescriptor& field);

// What the field wants: `a whole number`, `a list`, `one of FP32, FP16`.
std::string KindOf(const google::protobuf::FieldDescriptor& field);

// Paths below `root` that end in a field of that name, shortest first, at most `limit`.
std::vector<std::string> PathsOf(const google::protobuf::Descriptor& root, std::string_view name, std::size_t limit);

}  // namespace mantissa::cli
