#include "client/cli/output/message_text.h"

#include <cctype>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include <nlohmann/json.hpp>

namespace mantissa::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string ProtoJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  // Fails only on a malformed Any, and the API has none.
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  return status.ok() ? text : "{}";
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

std::string ToJson(const google::protobuf::Message& message) { return Json::parse(ProtoJson(message)).dump(2) + "\n"; }

std::string ToJson(const std::string& key, const std::vector<const google::protobuf::Message*>& messages) {
  Json list = Json::array();
  for (const google::protobuf::Message* message : messages) list.push_back(Json::parse(ProtoJson(*message)));
  return Json{{key, list}}.dump(2) + "\n";
}

std::string ToJsonLine(const google::protobuf::Message& message) { return ProtoJson(message) + "\n"; }

std::string JsonToYaml(const std::string& json) {
  const Json value = Json::parse(json);
  if (value.is_structured() && value.empty()) return value.is_object() ? "{}\n" : "[]\n";
  if (!value.is_structured()) return YamlScalar(value) + "\n";
  std::string out;
  WriteYaml(value, 0, out);
  return out;
}

}  // namespace mantissa::cli
