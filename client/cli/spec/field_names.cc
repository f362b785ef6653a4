#include "client/cli/spec/field_names.h"

#include <deque>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mantissa::cli {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

const FieldDescriptor* FindField(const Descriptor& message, std::string_view name) {
  for (int i = 0; i < message.field_count(); ++i) {
    if (message.field(i)->name() == name || message.field(i)->json_name() == name) return message.field(i);
  }
  return nullptr;
}

std::vector<std::string> FieldNames(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

std::vector<std::string> ValueNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (!absl::EndsWith(type.value(i)->name(), "_UNSPECIFIED")) names.push_back(type.value(i)->name());
  }
  return names;
}

bool IsDuration(const FieldDescriptor& field) {
  return field.message_type() != nullptr && field.message_type()->full_name() == "google.protobuf.Duration";
}

bool IsByteCount(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 && absl::EndsWith(field.name(), "_bytes");
}

namespace {

std::string ElementExample(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "0.1";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true";
    case FieldDescriptor::CPPTYPE_STRING:
      return "some-text";
    case FieldDescriptor::CPPTYPE_ENUM: {
      const std::vector<std::string> names = ValueNames(*field.enum_type());
      return names.empty() ? "" : names.front();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      if (IsDuration(field)) return "30s";
      if (field.message_type()->field_count() == 0) return "{}";
      const FieldDescriptor& first = *field.message_type()->field(0);
      return absl::StrCat("{ ", first.name(), ": ", ExampleOf(first), " }");
    }
    default:
      return IsByteCount(field) ? "16GiB" : "64";
  }
}

std::string ElementKind(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return "a text";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("one of ", absl::StrJoin(ValueNames(*field.enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return IsDuration(field) ? "a duration" : "a map of fields";
    default:
      return IsByteCount(field) ? "a number of bytes" : "a whole number";
  }
}

}  // namespace

std::string ExampleOf(const FieldDescriptor& field) {
  if (field.is_map()) return "{ team: nlp }";
  const std::string element = ElementExample(field);
  return field.is_repeated() ? absl::StrCat("[", element, "]") : element;
}

std::string KindOf(const FieldDescriptor& field) {
  if (field.is_map()) return "a map of texts";
  return field.is_repeated() ? "a list" : ElementKind(field);
}

std::vector<std::string> PathsOf(const Descriptor& root, std::string_view name, std::size_t limit) {
  std::vector<std::string> paths;
  std::deque<std::pair<const Descriptor*, std::string>> waiting = {{&root, ""}};
  std::set<const Descriptor*> seen = {&root};
  while (!waiting.empty() && paths.size() < limit) {
    const auto [message, prefix] = std::move(waiting.front());
    waiting.pop_front();
    if (const FieldDescriptor* field = FindField(*message, name)) {
      paths.push_back(prefix + field->name());
      if (paths.size() == limit) break;
    }
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor* field = message->field(i);
      if (field->message_type() == nullptr || field->is_repeated() || IsDuration(*field)) continue;
      // A type that stands in two places (train and eval data) is shown in its first.
      if (!seen.insert(field->message_type()).second) continue;
      waiting.emplace_back(field->message_type(), absl::StrCat(prefix, field->name(), "."));
    }
  }
  return paths;
}

}  // namespace mantissa::cli
