#include "client/cli/output/message_text.h"

#include <cctype>
#include <map>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include <nlohmann/json.hpp>

namespace mantissa::cli {
namespace {

using Json = nlohmann::ordered_json;

using google::protobuf::FieldDescriptor;

// Protobuf prints the entries of a map in no order; equal messages shall be equal texts.
void SortMaps(const google::protobuf::Descriptor& type, Json& object) {
  if (!object.is_object()) return;  // a duration or a timestamp is a text
  for (auto& [key, value] : object.items()) {
    const FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr || field->message_type() == nullptr) continue;
    if (field->is_map()) {
      std::map<std::string, Json> sorted;
      for (auto& [name, entry] : value.items()) sorted[name] = entry;
      value = Json::object();
      for (const auto& [name, entry] : sorted) value[name] = entry;
    } else if (value.is_array()) {
      for (Json& item : value) SortMaps(*field->message_type(), item);
    } else {
      SortMaps(*field->message_type(), value);
    }
  }
}

Json ProtoJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  // Fails only on a malformed Any, and the API has none.
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return Json::object();
  Json json = Json::parse(text);
  SortMaps(*message.GetDescriptor(), json);
  return json;
}

// Stands as it is without changing its meaning under any YAML reader.
bool IsPlain(const std::string& text) {
  if (text.empty() || !std::isalpha(static_cast<unsigned char>(text.front()))) return false;
  for (const char c : text) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.' && c != '/') return false;
  }
  std::string lower;
  for (const char c : text) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"}) {
    if (lower == word) return false;
  }
  return true;
}

std::string YamlScalar(const Json& value) {
  if (!value.is_string()) return value.dump();
  const auto& text = value.get_ref<const std::string&>();
  // JSON's quoted form is YAML's double-quoted form.
  return IsPlain(text) ? text : value.dump();
}

void WriteYaml(const Json& value, int indent, std::string& out) {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  for (auto item = value.begin(); item != value.end(); ++item) {
    const Json& child = *item;
    out += margin;
    out += value.is_object() ? absl::StrCat(IsPlain(item.key()) ? item.key() : Json(item.key()).dump(), ":") : "-";
    if (child.is_structured() && child.empty()) {
      out += child.is_object() ? " {}\n" : " []\n";
    } else if (child.is_object() && value.is_array()) {
      // The first field stands on the line of its dash.
      std::string nested;
      WriteYaml(child, indent + 2, nested);
      out += absl::StrCat(" ", nested.substr(static_cast<std::size_t>(indent) + 2));
    } else if (child.is_structured()) {
      out += '\n';
      WriteYaml(child, indent + 2, out);
    } else {
      out += absl::StrCat(" ", YamlScalar(child), "\n");
    }
  }
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) { return ProtoJson(message).dump(2) + "\n"; }

std::string ToJson(const std::string& key, const std::vector<const google::protobuf::Message*>& messages) {
  Json list = Json::array();
  for (const google::protobuf::Message* message : messages) list.push_back(ProtoJson(*message));
  return Json{{key, list}}.dump(2) + "\n";
}

std::string ToJsonLine(const google::protobuf::Message& message) { return ProtoJson(message).dump() + "\n"; }

std::string JsonToYaml(const std::string& json) {
  const Json value = Json::parse(json);
  if (value.is_structured() && value.empty()) return value.is_object() ? "{}\n" : "[]\n";
  if (!value.is_structured()) return YamlScalar(value) + "\n";
  std::string out;
  WriteYaml(value, 0, out);
  return out;
}

}  // namespace mantissa::cli
