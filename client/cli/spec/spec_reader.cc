#include "client/cli/spec/spec_reader.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/duration.pb.h"

#include "client/cli/output/display_text.h"
#include "client/cli/spec/field_names.h"
#include "client/cli/spec/scalar_text.h"
#include "process/nearest_name.h"

namespace mantissa::cli {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Kind = DocumentNode::Kind;

namespace {

constexpr std::size_t kMaxProblems = 100;

std::string Shown(std::string_view text) { return absl::StrCat("\"", Clip(ForTerminal(text), 60), "\""); }

std::string Found(const DocumentNode& node) {
  switch (node.kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a map";
    case Kind::kScalar:
      return Shown(node.text);
  }
  return "";
}

std::string Join(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : absl::StrCat(path, ".", std::string(name));
}

std::string KeyPath(const std::string& path, std::string_view key) {
  return absl::StrCat(path, "[\"", ForTerminal(key), "\"]");
}

// The value of that name, in any case and with `-` for `_`.
const EnumValueDescriptor* FindValue(const google::protobuf::EnumDescriptor& type, std::string_view name) {
  const std::string upper = absl::StrReplaceAll(absl::AsciiStrToUpper(std::string(name)), {{"-", "_"}});
  return type.FindValueByName(upper);
}

}  // namespace

void SpecReader::Problem(int line, const std::string& path, std::string message) {
  if (problems_.size() < kMaxProblems) problems_.push_back({line, path, std::move(message)});
}

void SpecReader::Expected(const DocumentNode& node, const std::string& path, const FieldDescriptor& field,
                          std::string_view because) {
  Problem(node.line, path,
          absl::StrCat("expected ", KindOf(field), ", found ", Found(node), std::string(because),
                       "; write for example ", field.name(), ": ", ExampleOf(field)));
}

std::string SpecReader::UnknownKey(const Descriptor& message, std::string_view key) const {
  const std::vector<std::string> names = FieldNames(message);
  std::string text = absl::StrCat("unknown key ", Shown(key));
  if (const std::string nearest = process::NearestName(key, names); !nearest.empty()) {
    return absl::StrCat(text, "; did you mean ", nearest, "?");
  }
  const std::vector<std::string> elsewhere = PathsOf(root_, key, 3);
  if (!elsewhere.empty()) return absl::StrCat(text, " here; it belongs to ", absl::StrJoin(elsewhere, " or "));
  if (names.empty()) return absl::StrCat(text, "; this message has no fields");
  return absl::StrCat(text, "; known here: ", absl::StrJoin(names, ", "));
}

void SpecReader::ReadMessage(const DocumentNode& node, const std::string& path, Message& message) {
  if (node.kind == Kind::kNull) return;
  const Descriptor& type = *message.GetDescriptor();
  if (node.kind != Kind::kMap) {
    const std::vector<std::string> names = FieldNames(type);
    Problem(
        node.line, path,
        absl::StrCat("expected a map of fields, found ", Found(node), "; known fields: ", absl::StrJoin(names, ", ")));
    return;
  }
  std::map<const FieldDescriptor*, const DocumentEntry*> given;
  std::map<const google::protobuf::OneofDescriptor*, const DocumentEntry*> chosen;
  for (const DocumentEntry& entry : node.entries) {
    const FieldDescriptor* field = FindField(type, entry.key);
    if (field == nullptr) {
      Problem(entry.line, Join(path, ForTerminal(entry.key)), UnknownKey(type, entry.key));
      continue;
    }
    const std::string field_path = Join(path, field->name());
    if (const auto [earlier, is_new] = given.emplace(field, &entry); !is_new) {
      Problem(entry.line, field_path,
              absl::StrCat("given twice, as ", earlier->second->key, " on line ", earlier->second->line, " and as ",
                           entry.key, "; keep one of them"));
      continue;
    }
    if (const google::protobuf::OneofDescriptor* oneof = field->real_containing_oneof()) {
      if (const auto [earlier, is_new] = chosen.emplace(oneof, &entry); !is_new) {
        Problem(entry.line, field_path,
                absl::StrCat("only one of ", earlier->second->key, " (line ", earlier->second->line, ") and ",
                             entry.key, " can be given; remove one of them"));
        continue;
      }
    }
    lines_.emplace(field_path, entry.line);
    ReadField(*entry.value, field_path, message, *field);
  }
}

void SpecReader::ReadField(const DocumentNode& node, const std::string& path, Message& message,
                           const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  reflection.ClearField(&message, &field);
  const bool plain_message = field.message_type() != nullptr && !field.is_repeated() && !IsDuration(field);
  if (node.kind == Kind::kNull && !plain_message) return;
  if (field.is_map()) return ReadMap(node, path, message, field);
  if (field.is_repeated()) return ReadList(node, path, message, field);
  if (!plain_message) return ReadScalar(node, path, message, field);
  if (node.kind != Kind::kMap && node.kind != Kind::kNull) return Expected(node, path, field);
  ReadMessage(node, path, *reflection.MutableMessage(&message, &field));
}

void SpecReader::ReadMap(const DocumentNode& node, const std::string& path, Message& message,
                         const FieldDescriptor& field) {
  if (node.kind != Kind::kMap) return Expected(node, path, field);
  const FieldDescriptor& key = *field.message_type()->map_key();
  const FieldDescriptor& value = *field.message_type()->map_value();
  for (const DocumentEntry& entry : node.entries) {
    const std::string entry_path = KeyPath(path, entry.key);
    lines_.emplace(entry_path, entry.line);
    if (entry.value->kind == Kind::kNull) {
      Problem(entry.line, entry_path, "has no value; write one after the colon");
      continue;
    }
    // Every map of the API has texts for keys.
    Message& pair = *message.GetReflection()->AddMessage(&message, &field);
    pair.GetReflection()->SetString(&pair, &key, entry.key);
    ReadField(*entry.value, entry_path, pair, value);
  }
}

void SpecReader::ReadList(const DocumentNode& node, const std::string& path, Message& message,
                          const FieldDescriptor& field) {
  if (node.kind != Kind::kList) return Expected(node, path, field);
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const DocumentNode& item = *node.items[i];
    const std::string item_path = absl::StrCat(path, "[", i, "]");
    lines_.emplace(item_path, item.line);
    if (item.kind == Kind::kNull) {
      Problem(item.line, item_path, "an empty entry in a list; remove it or write a value");
    } else if (field.message_type() != nullptr && !IsDuration(field)) {
      ReadMessage(item, item_path, *message.GetReflection()->AddMessage(&message, &field));
    } else {
      ReadScalar(item, item_path, message, field);
    }
  }
}

void SpecReader::ReadScalar(const DocumentNode& node, const std::string& path, Message& message,
                            const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  const auto put = [&](auto set, auto add, auto value) {
    field.is_repeated() ? (reflection.*add)(&message, &field, value) : (reflection.*set)(&message, &field, value);
  };
  if (node.kind != Kind::kScalar && !(IsDuration(field) && node.kind == Kind::kMap)) {
    return Expected(node, path, field);
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return put(&Reflection::SetString, &Reflection::AddString, node.text);
    case FieldDescriptor::CPPTYPE_BOOL: {
      const std::string word = absl::AsciiStrToLower(node.text);
      if (node.quoted) return Expected(node, path, field, " in quotes");
      if (word != "true" && word != "false") return Expected(node, path, field);
      return put(&Reflection::SetBool, &Reflection::AddBool, word == "true");
    }
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT: {
      const absl::StatusOr<double> number = ParseNumber(node.text);
      if (!number.ok()) {
        const bool range = number.status().code() == absl::StatusCode::kOutOfRange;
        return Expected(node, path, field, range ? ", which no double can hold" : "");
      }
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
        return put(&Reflection::SetFloat, &Reflection::AddFloat, static_cast<float>(*number));
      }
      return put(&Reflection::SetDouble, &Reflection::AddDouble, *number);
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return ReadEnum(node, path, message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ReadDuration(node, path, message, field);
    default:
      return ReadInteger(node, path, message, field);
  }
}

void SpecReader::ReadInteger(const DocumentNode& node, const std::string& path, Message& message,
                             const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  const auto store = [&](auto parsed, auto set, auto add, auto min, auto max) {
    if (parsed.ok()) {
      const auto value = static_cast<decltype(max)>(*parsed);
      field.is_repeated() ? (reflection.*add)(&message, &field, value) : (reflection.*set)(&message, &field, value);
    } else if (parsed.status().code() == absl::StatusCode::kOutOfRange) {
      Problem(node.line, path,
              absl::StrCat(Found(node), " is out of range; write a whole number from ", min, " to ", max));
    } else {
      Expected(node, path, field);
    }
  };
  constexpr auto kMin32 = std::numeric_limits<std::int32_t>::min();
  constexpr auto kMax32 = std::numeric_limits<std::int32_t>::max();
  constexpr auto kMin64 = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMax64 = std::numeric_limits<std::int64_t>::max();
  constexpr auto kMaxU32 = std::numeric_limits<std::uint32_t>::max();
  constexpr auto kMaxU64 = std::numeric_limits<std::uint64_t>::max();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return store(ParseSigned(node.text, kMin32, kMax32), &Reflection::SetInt32, &Reflection::AddInt32, kMin32,
                   kMax32);
    case FieldDescriptor::CPPTYPE_UINT32:
      return store(ParseUnsigned(node.text, kMaxU32), &Reflection::SetUInt32, &Reflection::AddUInt32, 0, kMaxU32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return store(ParseUnsigned(node.text, kMaxU64), &Reflection::SetUInt64, &Reflection::AddUInt64, 0, kMaxU64);
    default:
      return store(IsByteCount(field) ? ParseSpecBytes(node.text) : ParseSigned(node.text, kMin64, kMax64),
                   &Reflection::SetInt64, &Reflection::AddInt64, kMin64, kMax64);
  }
}

void SpecReader::ReadDuration(const DocumentNode& node, const std::string& path, Message& message,
                              const FieldDescriptor& field) {
  google::protobuf::Duration duration;
  if (node.kind == Kind::kMap) {
    ReadMessage(node, path, duration);
  } else {
    const absl::StatusOr<google::protobuf::Duration> parsed = ParseSpecDuration(node.text);
    if (!parsed.ok()) {
      const bool bare = ParseNumber(node.text).ok();
      return Expected(node, path, field, bare ? " without a unit (ms, s, m, h or d)" : "");
    }
    duration = *parsed;
  }
  const Reflection& reflection = *message.GetReflection();
  Message& target =
      field.is_repeated() ? *reflection.AddMessage(&message, &field) : *reflection.MutableMessage(&message, &field);
  target.CopyFrom(duration);
}

void SpecReader::ReadEnum(const DocumentNode& node, const std::string& path, Message& message,
                          const FieldDescriptor& field) {
  const EnumValueDescriptor* value = FindValue(*field.enum_type(), node.text);
  if (value == nullptr) {
    const std::vector<std::string> names = ValueNames(*field.enum_type());
    const std::string nearest = process::NearestName(absl::AsciiStrToUpper(node.text), names);
    return Problem(node.line, path,
                   absl::StrCat(Found(node), " is not a value of this field; allowed: ", absl::StrJoin(names, ", "),
                                nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?")));
  }
  const Reflection& reflection = *message.GetReflection();
  field.is_repeated() ? reflection.AddEnum(&message, &field, value) : reflection.SetEnum(&message, &field, value);
}

}  // namespace mantissa::cli
