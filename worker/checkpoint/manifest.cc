#include "worker/checkpoint/manifest.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace mantissa::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;

// Reads fields of one object and remembers the first that is missing or of another type.
class Fields {
 public:
  Fields(const Json& object, std::string& fault) : object_(object), fault_(fault) {}

  template <typename Integer>
  void Read(const char* key, Integer& value, std::int64_t least = 0) {
    const Json* field = Find(key);
    if (field == nullptr) return;
    if (!field->is_number_integer() || (field->is_number_unsigned() && field->get<std::uint64_t>() > INT64_MAX)) {
      return Fail(key);
    }
    const auto wide = field->get<std::int64_t>();
    if (wide < least || wide > std::numeric_limits<Integer>::max()) return Fail(key);
    value = static_cast<Integer>(wide);
  }
  void Read(const char* key, bool& value) {
    const Json* field = Find(key);
    if (field == nullptr) return;
    if (!field->is_boolean()) return Fail(key);
    value = field->get<bool>();
  }
  void Read(const char* key, float& value) {
    const Json* field = Find(key);
    if (field == nullptr) return;
    if (!field->is_number()) return Fail(key);
    value = field->get<float>();
    if (!std::isfinite(value) || value < 0) Fail(key);
  }
  void Read(const char* key, std::string& value) {
    const Json* field = Find(key);
    if (field == nullptr) return;
    if (!field->is_string()) return Fail(key);
    value = field->get<std::string>();
  }
  void Read(const char* key, std::map<std::string, std::string>& values) {
    const Json* field = Find(key);
    if (field == nullptr) return;
    if (!field->is_object()) return Fail(key);
    for (const auto& [name, text] : field->items()) {
      if (!text.is_string()) return Fail(key);
      values[name] = text.get<std::string>();
    }
  }

  const Json* Find(const char* key) {
    if (!object_.is_object() || !object_.contains(key)) {
      Fail(key);
      return nullptr;
    }
    return &object_.at(key);
  }
  void Fail(const char* key) {
    if (fault_.empty()) fault_ = absl::StrCat("manifest: ", key, " is missing or wrong");
  }

 private:
  const Json& object_;
  std::string& fault_;
};

bool IsPlainName(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.size() <= 255 && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos && name != kManifestName;
}

bool IsSha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void ReadFiles(const Json& list, Manifest& manifest, std::string& fault) {
  Fields outer(list, fault);
  if (!list.is_array()) return outer.Fail("files");
  for (const Json& item : list) {
    ManifestFile file;
    Fields fields(item, fault);
    fields.Read("name", file.name);
    fields.Read("size_bytes", file.size_bytes);
    fields.Read("sha256", file.sha256);
    const bool taken = std::any_of(manifest.files.begin(), manifest.files.end(),
                                   [&](const ManifestFile& other) { return other.name == file.name; });
    if (!IsPlainName(file.name) || !IsSha256(file.sha256) || taken) return outer.Fail("files");
    manifest.files.push_back(std::move(file));
  }
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  Json files = Json::array();
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"size_bytes", file.size_bytes}, {"sha256", file.sha256}});
  }
  Json json = {{"format", kFormat},
               {"job_id", manifest.job_id},
               {"attempt", manifest.attempt},
               {"step", manifest.step},
               {"iteration", manifest.iteration},
               {"lineage", manifest.lineage},
               {"precision", manifest.precision},
               {"finite", manifest.finite},
               {"final", manifest.final},
               {"create_time_unix_nanos", manifest.create_time_unix_nanos},
               {"files", std::move(files)},
               {"scaler",
                {{"loss_scale", manifest.scaler.loss_scale},
                 {"growth_tracker", manifest.scaler.growth_tracker},
                 {"hysteresis_tracker", manifest.scaler.hysteresis_tracker},
                 {"skips_in_row", manifest.scaler.skips_in_row}}},
               {"data_cursor",
                {{"epoch", manifest.data_cursor.epoch},
                 {"window", manifest.data_cursor.window},
                 {"windows_per_epoch", manifest.data_cursor.windows_per_epoch}}},
               {"execution_plan", manifest.execution_plan},
               {"versions", manifest.versions}};
  // As text: JSON's readers keep whole numbers of 53 bits.
  if (manifest.initial) json["initial"] = {{"seed", absl::StrCat(manifest.initial->seed)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Manifest> ParseManifest(std::string_view json) {
  if (static_cast<std::int64_t>(json.size()) > kMaxManifestBytes) {
    return absl::InvalidArgumentError(absl::StrCat("manifest: ", json.size(), " bytes are too many"));
  }
  const Json tree = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!tree.is_object()) return absl::InvalidArgumentError("manifest: not a JSON object");
  Manifest manifest;
  std::string fault;
  Fields fields(tree, fault);
  std::int32_t format = 0;
  fields.Read("format", format);
  if (fault.empty() && format != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat("manifest: format ", format, " is not known to this release"));
  }
  fields.Read("job_id", manifest.job_id);
  fields.Read("attempt", manifest.attempt);
  fields.Read("step", manifest.step);
  fields.Read("iteration", manifest.iteration);
  fields.Read("lineage", manifest.lineage);
  fields.Read("precision", manifest.precision);
  fields.Read("finite", manifest.finite);
  fields.Read("final", manifest.final);
  fields.Read("create_time_unix_nanos", manifest.create_time_unix_nanos);
  if (const Json* files = fields.Find("files")) ReadFiles(*files, manifest, fault);
  if (tree.contains("initial")) {
    std::string seed;
    Fields(tree.at("initial"), fault).Read("seed", seed);
    if (!absl::SimpleAtoi(seed, &manifest.initial.emplace().seed)) fields.Fail("initial");
  }
  if (const Json* scaler = fields.Find("scaler")) {
    Fields inner(*scaler, fault);
    inner.Read("loss_scale", manifest.scaler.loss_scale);
    inner.Read("growth_tracker", manifest.scaler.growth_tracker);
    inner.Read("hysteresis_tracker", manifest.scaler.hysteresis_tracker, INT32_MIN);
    inner.Read("skips_in_row", manifest.scaler.skips_in_row);
  }
  if (const Json* cursor = fields.Find("data_cursor")) {
    Fields inner(*cursor, fault);
    inner.Read("epoch", manifest.data_cursor.epoch);
    inner.Read("window", manifest.data_cursor.window);
    inner.Read("windows_per_epoch", manifest.data_cursor.windows_per_epoch);
  }
  fields.Read("execution_plan", manifest.execution_plan);
  fields.Read("versions", manifest.versions);
  if (!fault.empty()) return absl::InvalidArgumentError(fault);
  return manifest;
}

}  // namespace mantissa::trainer
