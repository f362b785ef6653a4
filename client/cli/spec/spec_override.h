// One `--set path=value`.
#pragma once

#include <string_view>
#include <vector>

#include "google/protobuf/message.h"

#include "client/cli/spec/spec_reader.h"

namespace mantissa::cli {

// Replaces one field of the spec. The value is YAML; a text field takes it as it stands, and an empty one unsets the
// field. What follows the name of a map (`labels.team=nlp`) is the key. Setting a member of a oneof unsets the others.
void ApplyOverride(std::string_view assignment, google::protobuf::Message& spec, std::vector<SpecProblem>& problems,
                   FieldLines& lines);

}  // namespace mantissa::cli
