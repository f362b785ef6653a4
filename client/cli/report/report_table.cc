#include "client/cli/report/report_table.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Rows = std::vector<const Message*>;

constexpr int kDigits = 4;

// Of a number in a table's cell, and what it is multiplied by to be shown.
struct Unit {
  std::string name;  // empty: none
  double factor = 1;
};

bool IsNumber(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return true;
    default:
      return false;
  }
}

bool IsReal(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE || field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT;
}

bool IsGiven(const Message& row, const FieldDescriptor& field) { return row.GetReflection()->HasField(row, &field); }

// Something stands in its cell: a field without presence has its default where nothing was said.
bool HasValue(const Message& row, const FieldDescriptor& field) { return !field.has_presence() || IsGiven(row, field); }

double NumberOf(const Message& row, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *row.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(row, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return static_cast<double>(reflection.GetInt64(row, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(row, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<double>(reflection.GetUInt64(row, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return static_cast<double>(reflection.GetFloat(row, &field));
    default:
      return reflection.GetDouble(row, &field);
  }
}

// The middle one of what the columns have, without signs and zeros: what a prefix has to suit.
double TypicalOf(const Rows& rows, const std::vector<const FieldDescriptor*>& fields) {
  std::vector<double> values;
  for (const Message* row : rows) {
    for (const FieldDescriptor* field : fields) {
      const double value = HasValue(*row, *field) ? std::abs(NumberOf(*row, *field)) : 0;
      if (value > 0 && std::isfinite(value)) values.push_back(value);
    }
  }
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Bytes stand beside bytes and times beside times, to be added up and compared: one prefix suits all of a table.
std::vector<const FieldDescriptor*> FieldsIn(const Descriptor& type, std::string_view suffix) {
  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->name().ends_with(suffix)) fields.push_back(type.field(i));
  }
  return fields;
}

Unit SecondsUnit(double typical) {
  if (typical >= 1 || typical == 0) return {"s", 1};
  return typical >= 1e-3 ? Unit{"ms", 1e3} : Unit{"us", 1e6};
}

Unit BytesUnit(double typical) {
  if (typical < 1024) return {"B", 1};
  if (typical < 1024.0 * 1024) return {"KiB", 0x1p-10};
  return typical < 1024.0 * 1024 * 1024 ? Unit{"MiB", 0x1p-20} : Unit{"GiB", 0x1p-30};
}

struct Named {
  std::string base;  // the field's name without its unit
  Unit unit;
};

Named NameOf(const FieldDescriptor& field, const Rows& rows) {
  const std::string& name = field.name();
  const auto without = [&name](std::size_t suffix) { return name.substr(0, name.size() - suffix); };
  if (name == "bytes_per_second") {
    const Unit unit = BytesUnit(TypicalOf(rows, {&field}));
    return {"memory", {unit.name + "/s", unit.factor}};
  }
  if (absl::EndsWith(name, "_per_second")) return {without(11), {"/s", 1}};
  const auto typical = [&](std::string_view suffix) {
    return TypicalOf(rows, FieldsIn(*field.containing_type(), suffix));
  };
  if (absl::EndsWith(name, "_seconds")) return {without(8), SecondsUnit(typical("_seconds"))};
  if (absl::EndsWith(name, "_bytes")) return {without(6), BytesUnit(typical("_bytes"))};
  if (absl::EndsWith(name, "_share")) return {without(6), {"%", 100}};
  if (absl::EndsWith(name, "_log2")) return {without(5), {"log2", 1}};
  return {name, {}};
}

bool IsScale(const FieldDescriptor& field) { return IsReal(field) && absl::EndsWith(field.name(), "scale"); }

// 2^16, where it is one.
std::string PowerText(double scale) {
  int exponent = 0;
  if (std::frexp(scale, &exponent) == 0.5) return absl::StrCat("2^", exponent - 1);
  return ScaleText(scale);
}

std::string NumberText(const Message& row, const FieldDescriptor& field, const Unit& unit) {
  const double value = NumberOf(row, field);
  if (IsScale(field)) return value == 0 ? "-" : PowerText(value);  // 0 is that of a run without one
  if (IsReal(field) || unit.factor != 1) return ShortNumber(value * unit.factor, unit.name.empty() ? kDigits : 3);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    return std::to_string(row.GetReflection()->GetUInt64(row, &field));
  }
  // Counts of elements are long; sides of a matrix are not, and are written without a comma.
  const auto whole = static_cast<std::int64_t>(value);
  return field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 ? GroupedCount(whole) : std::to_string(whole);
}

std::string CellText(const Message& row, const FieldDescriptor& field, const Unit& unit) {
  if (!HasValue(row, field)) return "-";
  const google::protobuf::Reflection& reflection = *row.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM: {
      const google::protobuf::EnumValueDescriptor& value = *reflection.GetEnum(row, &field);
      return value.number() == 0 ? "-" : value.name();
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(row, &field) ? "yes" : "no";
    case FieldDescriptor::CPPTYPE_STRING:
      return ForTerminal(reflection.GetString(row, &field));
    default:
      return NumberText(row, field, unit);
  }
}

// Fields that stand for one another's ends: `distance`, `distance_low`, `distance_high`.
const FieldDescriptor* Beside(const FieldDescriptor& field, const char* suffix) {
  return field.containing_type()->FindFieldByName(absl::StrCat(field.name(), suffix));
}

bool IsEndOf(const FieldDescriptor& field) {
  for (const char* suffix : {"_low", "_high"}) {
    if (!absl::EndsWith(field.name(), suffix)) continue;
    const std::string of = field.name().substr(0, field.name().size() - std::string(suffix).size());
    const FieldDescriptor* middle = field.containing_type()->FindFieldByName(of);
    if (middle != nullptr && Beside(*middle, "_low") != nullptr && Beside(*middle, "_high") != nullptr) return true;
  }
  return false;
}

std::string WithInterval(const Message& row, const FieldDescriptor& field, const Unit& unit) {
  std::string text = CellText(row, field, unit);
  const FieldDescriptor* const low = Beside(field, "_low");
  const FieldDescriptor* const high = Beside(field, "_high");
  if (low == nullptr || high == nullptr || !IsGiven(row, *low) || !IsGiven(row, *high)) return text;
  return absl::StrCat(text, " [", CellText(row, *low, unit), ", ", CellText(row, *high, unit), "]");
}

// What can say which row it is, if it stands in front.
bool MayBeKey(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_BOOL:
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return !field.has_presence();
    default:
      return false;
  }
}

// How many of the first fields tell rows apart: up to the last name or text before anything is measured; at least one.
int KeysOf(const Descriptor& type) {
  int keys = 1;
  for (int i = 0; i < type.field_count() && MayBeKey(*type.field(i)); ++i) {
    const FieldDescriptor::CppType kind = type.field(i)->cpp_type();
    if (kind == FieldDescriptor::CPPTYPE_ENUM || kind == FieldDescriptor::CPPTYPE_STRING) keys = i + 1;
  }
  return keys;
}

std::vector<std::string> HeadingOf(const Named& named) {
  std::vector<std::string> words = absl::StrSplit(absl::AsciiStrToUpper(named.base), '_');
  if (!named.unit.name.empty()) words.push_back(named.unit.name);
  return words;
}

std::string ValueText(const Message& message, const FieldDescriptor& field) {
  const Named named = NameOf(field, {&message});
  const std::string text = CellText(message, field, named.unit);
  return named.unit.name.empty() ? text : absl::StrCat(text, " ", named.unit.name);
}

}  // namespace

const Message* ResultOf(const v1::Report& report) {
  const FieldDescriptor* const field = v1::Report::descriptor()->FindFieldByNumber(report.result_case());
  return field == nullptr ? nullptr : &report.GetReflection()->GetMessage(report, field);
}

std::vector<ReportSection> SectionsOf(const v1::Report& report) {
  std::vector<ReportSection> sections;
  const Message* const result = ResultOf(report);
  if (result == nullptr) return sections;
  const Descriptor& type = *result->GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (!field->is_repeated() || field->message_type() == nullptr) continue;
    ReportSection section{field->name(), {}};
    for (int row = 0; row < result->GetReflection()->FieldSize(*result, field); ++row) {
      section.rows.push_back(&result->GetReflection()->GetRepeatedMessage(*result, field, row));
    }
    if (!section.rows.empty()) sections.push_back(std::move(section));
  }
  return sections;
}

std::vector<ReportColumn> ColumnsOf(const ReportSection& section, std::size_t most) {
  std::vector<ReportColumn> columns;
  if (section.rows.empty()) return columns;
  const Rows rows(section.rows.begin(),
                  section.rows.begin() + static_cast<std::ptrdiff_t>(std::min(most, section.rows.size())));
  const Descriptor& type = *rows.front()->GetDescriptor();
  const int keys = KeysOf(type);
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated() || field.message_type() != nullptr || IsEndOf(field)) continue;
    const bool said =
        std::any_of(section.rows.begin(), section.rows.end(), [&](const Message* row) { return IsGiven(*row, field); });
    if (!said && i > 0) continue;
    const Named named = NameOf(field, rows);
    ReportColumn column;
    column.heading = HeadingOf(named);
    column.right = IsNumber(field);
    column.key = i < keys;
    column.prose = i >= keys && field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    for (const Message* row : rows) {
      const std::string text = WithInterval(*row, field, named.unit);
      column.cells.push_back(text.empty() && !column.prose ? "-" : text);
    }
    columns.push_back(std::move(column));
  }
  return columns;
}

std::vector<std::pair<std::string, std::string>> FactsOf(const Message& result) {
  std::vector<std::pair<std::string, std::string>> facts;
  const Descriptor& type = *result.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const std::string name = absl::StrReplaceAll(NameOf(*field, {}).base, {{"_", " "}});
    if (field->message_type() != nullptr) continue;
    if (!field->is_repeated()) {
      if (IsGiven(result, *field)) facts.emplace_back(name, ValueText(result, *field));
      continue;
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
    for (int entry = 0; entry < result.GetReflection()->FieldSize(result, field); ++entry) {
      facts.emplace_back(name, ForTerminal(result.GetReflection()->GetRepeatedString(result, field, entry)));
    }
  }
  return facts;
}

}  // namespace mantissa::cli
