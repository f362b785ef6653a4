// Messages as JSON and YAML, for machines and for people who want all of it.
#pragma once

#include <string>
#include <vector>

#include "google/protobuf/message.h"

namespace mantissa::cli {

// Proto3 JSON with the field names of the .proto: every field without presence is printed, 64-bit integers are strings,
// NaN and Infinity are the strings "NaN", "Infinity" and "-Infinity". Maps are in order of their keys. Ends in a line
// feed.
std::string ToJson(const google::protobuf::Message& message);

// A list of messages as one document: `{"<key>": [...]}`.
std::string ToJson(const std::string& key, const std::vector<const google::protobuf::Message*>& messages);

// The same on one line, for streams: one message a line.
std::string ToJsonLine(const google::protobuf::Message& message);

// The JSON document written as YAML: the same names and values, strings quoted where YAML would read something else.
std::string JsonToYaml(const std::string& json);

}  // namespace mantissa::cli
