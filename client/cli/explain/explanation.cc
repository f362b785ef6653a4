#include "client/cli/explain/explanation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "client/cli/output/display_text.h"
#include "client/cli/spec/field_names.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/report.pb.h"
#include "process/nearest_name.h"

namespace mantissa::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr char kJob[] = "job";
constexpr char kReport[] = "report";
constexpr std::size_t kMostShown = 80;  // of what somebody wrote
constexpr std::size_t kElsewhere = 3;

const Descriptor& StudyType() { return *v1::StudySpec::descriptor(); }

std::vector<std::string> StudyNames() { return FieldNames(StudyType()); }

std::string Shown(const std::string& name) { return Clip(ForTerminal(name), static_cast<int>(kMostShown)); }

std::string ElementType(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrJoin(ValueNames(*field.enum_type()), " | ");
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return IsDuration(field) ? "duration, such as 30s" : field.message_type()->name();
    default:
      return IsByteCount(field) ? "bytes, such as 16GiB" : "whole number";
  }
}

std::string TypeOf(const FieldDescriptor& field) {
  if (field.is_map()) return "map of texts";
  return field.is_repeated() ? absl::StrCat("list of ", ElementType(field)) : ElementType(field);
}

// A message that fields can be named beneath.
const Descriptor* Beneath(const FieldDescriptor& field) {
  return field.is_map() || IsDuration(field) ? nullptr : field.message_type();
}

Comment CommentOf(const FieldDescriptor& field, const ProtoComments& comments) {
  const Comment& own = comments.Of(field.full_name());
  if (!own.empty() || Beneath(field) == nullptr) return own;
  const std::string sentence = FirstSentence(comments.Of(field.message_type()->full_name()));
  return sentence.empty() ? Comment() : Comment{sentence};
}

void AddFields(const Descriptor& message, const ProtoComments& comments, Explanation& explanation) {
  explanation.has_fields = true;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const google::protobuf::OneofDescriptor* group = field.real_containing_oneof();
    explanation.parts.push_back(
        {field.name(), TypeOf(field), group == nullptr ? "" : group->name(), CommentOf(field, comments)});
  }
}

void AddValues(const google::protobuf::EnumDescriptor& type, const ProtoComments& comments, Explanation& explanation) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() == 0) continue;
    explanation.parts.push_back({type.value(i)->name(), "", "", comments.Of(type.value(i)->full_name())});
  }
}

// What is said of the field where it stands, then of its type.
Explanation OfField(const std::string& path, const FieldDescriptor& field, const ProtoComments& comments) {
  Explanation explanation{path, TypeOf(field), comments.Of(field.full_name()), {}, false};
  const auto add = [&](const std::string& type) {
    const Comment& more = comments.Of(type);
    explanation.comment.insert(explanation.comment.end(), more.begin(), more.end());
  };
  if (const Descriptor* message = Beneath(field)) {
    add(message->full_name());
    AddFields(*message, comments, explanation);
  } else if (field.enum_type() != nullptr) {
    add(field.enum_type()->full_name());
    AddValues(*field.enum_type(), comments, explanation);
  }
  return explanation;
}

Explanation OfMessage(const std::string& path, const Descriptor& message, const ProtoComments& comments) {
  Explanation explanation{path, message.name(), comments.Of(message.full_name()), {}, false};
  AddFields(message, comments, explanation);
  return explanation;
}

std::string DidYouMean(const std::string& name, const std::vector<std::string>& candidates) {
  const std::string nearest = process::NearestName(name, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

absl::Status NoSuchBeginning(const std::string& name) {
  std::vector<std::string> known = StudyNames();
  for (const std::string& field : FieldNames(*v1::JobSpec::descriptor())) known.push_back(field);
  known.insert(known.end(), {kJob, kReport});
  std::string hint = DidYouMean(name, known);
  const std::vector<std::string> elsewhere = PathsOf(*v1::JobSpec::descriptor(), name, kElsewhere);
  if (!elsewhere.empty()) hint = absl::StrCat("; did you mean ", absl::StrJoin(elsewhere, " or "), "?");
  if (hint.empty()) hint = "; mantissa explain, without a name, lists the studies, and mantissa explain job the fields";
  return absl::InvalidArgumentError(absl::StrCat("there is no study and no field ", Shown(name), hint));
}

absl::Status NoSuchField(const std::string& path, const Descriptor& message, const std::string& name) {
  const std::vector<std::string> known = FieldNames(message);
  std::string hint = DidYouMean(name, known);
  if (hint.empty()) {
    hint = known.empty() ? "; it has no fields" : absl::StrCat("; it has ", absl::StrJoin(known, ", "));
  }
  return absl::InvalidArgumentError(absl::StrCat(path, " has no field ", Shown(name), hint));
}

// Without what stands in brackets at its end.
std::string WithoutIndex(const std::string& part) { return part.substr(0, part.find('[')); }

}  // namespace

absl::StatusOr<Explanation> ExplainPath(std::string_view path, const ProtoComments& comments) {
  const std::vector<std::string> parts = absl::StrSplit(std::string(path), '.');
  const std::string first = WithoutIndex(parts.front());
  const Descriptor* message = v1::JobSpec::descriptor();
  std::string at;
  std::size_t next = 0;
  if (FindField(StudyType(), first) != nullptr) {
    message = &StudyType();
    at = "study";
  } else if (first == kJob || first == kReport) {
    if (first == kReport) message = v1::Report::descriptor();
    if (first == kReport) at = kReport;
    if (parts.size() == 1) return OfMessage(first, *message, comments);
    next = 1;
  } else if (FindField(*message, first) == nullptr) {
    return NoSuchBeginning(first);
  }
  const FieldDescriptor* field = nullptr;
  for (; next < parts.size(); ++next) {
    const std::string name = WithoutIndex(parts[next]);
    if (message == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(at, " is a ", TypeOf(*field), " and has no field ", Shown(name)));
    }
    field = FindField(*message, name);
    if (field == nullptr) return NoSuchField(at.empty() ? "a job spec" : at, *message, name);
    absl::StrAppend(&at, at.empty() ? "" : ".", field->name());
    message = Beneath(*field);
  }
  return OfField(at, *field, comments);
}

std::vector<std::pair<std::string, std::string>> Studies(const ProtoComments& comments) {
  std::vector<std::pair<std::string, std::string>> studies;
  for (int i = 0; i < StudyType().field_count(); ++i) {
    const FieldDescriptor& field = *StudyType().field(i);
    studies.emplace_back(field.name(), FirstSentence(comments.Of(field.message_type()->full_name())));
  }
  return studies;
}

}  // namespace mantissa::cli
