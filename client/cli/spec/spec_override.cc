#include "client/cli/spec/spec_override.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "client/cli/output/display_text.h"
#include "client/cli/spec/field_names.h"

namespace mantissa::cli {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

void Problem(std::vector<SpecProblem>& problems, const std::string& path, std::string_view message) {
  problems.push_back({0, path, absl::StrCat("--set: ", std::string(message))});
}

// The value as a node; nothing when it can't be parsed.
std::optional<DocumentNode> ParseValue(const std::string& value, const FieldDescriptor& field, const std::string& path,
                                       std::vector<SpecProblem>& problems) {
  DocumentNode node;
  if (value.empty()) return node;
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field.is_repeated()) {
    node.kind = DocumentNode::Kind::kScalar;
    node.text = value;
    return node;
  }
  const Document document = ParseDocument(value);
  for (const SpecProblem& problem : document.problems) Problem(problems, path, problem.message);
  if (document.root == nullptr || !document.problems.empty()) return std::nullopt;
  return *document.root;
}

void SetField(const std::string& value, const std::string& path, Message& message, const FieldDescriptor& field,
              std::vector<SpecProblem>& problems, SpecReader& reader) {
  const std::optional<DocumentNode> node = ParseValue(value, field, path, problems);
  if (!node) return;
  if (node->kind == DocumentNode::Kind::kNull) {
    message.GetReflection()->ClearField(&message, &field);
    return;
  }
  const std::size_t before = problems.size();
  reader.ReadField(*node, path, message, field);
  for (std::size_t i = before; i < problems.size(); ++i) {
    problems[i].line = 0;  // a line of the value is no line of the file
    problems[i].message.insert(0, "--set: ");
  }
}

void SetMapEntry(const std::string& key, const std::string& value, Message& message, const FieldDescriptor& field) {
  Message& pair = *message.GetReflection()->AddMessage(&message, &field);  // of two equal keys the last counts
  pair.GetReflection()->SetString(&pair, field.message_type()->map_key(), key);
  pair.GetReflection()->SetString(&pair, field.message_type()->map_value(), value);
}

}  // namespace

void ApplyOverride(std::string_view assignment, Message& spec, std::vector<SpecProblem>& problems, FieldLines& lines) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    Problem(problems, "",
            absl::StrCat("\"", Clip(ForTerminal(assignment), 60),
                         "\" is not path=value; write for example --set training.batch_size=32"));
    return;
  }
  if (FirstNonUtf8(assignment) != std::string_view::npos) {
    Problem(problems, "",
            absl::StrCat("\"", Clip(ForTerminal(assignment), 60), "\" is not UTF-8 text; write it as UTF-8"));
    return;
  }
  const std::string value(assignment.substr(equals + 1));
  const std::vector<std::string> parts = absl::StrSplit(std::string(assignment.substr(0, equals)), '.');
  FieldLines lines_of_value;
  SpecReader reader(*spec.GetDescriptor(), problems, lines_of_value);
  Message* message = &spec;
  std::string path;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const FieldDescriptor* field = FindField(*message->GetDescriptor(), parts[i]);
    absl::StrAppend(&path, i == 0 ? "" : ".", field != nullptr ? field->name() : ForTerminal(parts[i]));
    if (field == nullptr) return Problem(problems, path, reader.UnknownKey(*message->GetDescriptor(), parts[i]));
    if (i + 1 == parts.size()) {
      lines.erase(path);  // a violation of this value is not the file's
      return SetField(value, path, *message, *field, problems, reader);
    }
    if (field->is_map()) {
      const std::vector<std::string> key(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1, parts.end());
      return SetMapEntry(absl::StrJoin(key, "."), value, *message, *field);
    }
    if (field->message_type() == nullptr || field->is_repeated() || IsDuration(*field)) {
      return Problem(
          problems, path,
          absl::StrCat("has no fields; it takes ", KindOf(*field), ", such as --set ", path, "=", ExampleOf(*field)));
    }
    message = message->GetReflection()->MutableMessage(message, field);
  }
}

}  // namespace mantissa::cli
