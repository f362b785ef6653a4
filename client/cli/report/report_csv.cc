#include "client/cli/report/report_csv.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

#include "client/cli/output/display_text.h"

namespace mantissa::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string Quoted(const std::string& text) {
  if (text.find_first_of(",\"") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string RealText(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end.ptr);
}

std::string ValueText(const Message& row, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *row.GetReflection();
  if (field.has_presence() && !reflection.HasField(row, &field)) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(reflection.GetInt32(row, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(reflection.GetInt64(row, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(reflection.GetUInt32(row, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(reflection.GetUInt64(row, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return RealText(static_cast<double>(reflection.GetFloat(row, &field)));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return RealText(reflection.GetDouble(row, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(row, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM: {
      const google::protobuf::EnumValueDescriptor& value = *reflection.GetEnum(row, &field);
      return value.number() == 0 ? "" : value.name();
    }
    case FieldDescriptor::CPPTYPE_STRING:
      return Quoted(ForTerminal(reflection.GetString(row, &field)));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "";
  }
  return "";
}

}  // namespace

std::string ReportCsv(const ReportSection& section) {
  std::string text;
  if (section.rows.empty()) return text;
  const google::protobuf::Descriptor& type = *section.rows.front()->GetDescriptor();
  std::vector<const FieldDescriptor*> fields;
  std::vector<std::string> line;
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->is_repeated() || type.field(i)->message_type() != nullptr) continue;
    fields.push_back(type.field(i));
    line.push_back(type.field(i)->name());
  }
  absl::StrAppend(&text, absl::StrJoin(line, ","), "\n");
  for (const Message* row : section.rows) {
    line.clear();
    for (const FieldDescriptor* field : fields) line.push_back(ValueText(*row, *field));
    absl::StrAppend(&text, absl::StrJoin(line, ","), "\n");
  }
  return text;
}

}  // namespace mantissa::cli
