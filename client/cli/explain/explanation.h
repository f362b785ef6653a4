// What a spec or a report can say, in the words of the .proto files.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"

#include "client/cli/explain/proto_comments.h"

namespace mantissa::cli {

// A field, or a value of an enum.
struct ExplainedPart {
  std::string name;
  std::string type;   // `whole number`, `list of MatrixShape`; empty for a value
  std::string group;  // of a oneof: its name; only one field of a group can be given
  Comment comment;    // of its message where it has none of its own: the first sentence
};

struct Explanation {
  std::string path;  // from the job spec down: `study.format_table.loss_scale`; or `report`, and what is below it
  std::string type;
  Comment comment;
  std::vector<ExplainedPart> parts;  // fields, or of an enum its values
  bool has_fields = false;           // rather than values
};

// What `path` names: a study (`precision_comparison`) and the fields beneath it, a field of a job spec
// (`training.precision.loss_scale`), `job` for the spec itself, or `report` and its fields. Indices are taken and mean
// nothing: `shapes[0].m`. INVALID_ARGUMENT, saying what was probably meant, for a name that is none. Pure.
absl::StatusOr<Explanation> ExplainPath(std::string_view path, const ProtoComments& comments);

// Each study with the first sentence of what is said of it.
std::vector<std::pair<std::string, std::string>> Studies(const ProtoComments& comments);

}  // namespace mantissa::cli
