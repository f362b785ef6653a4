#include "worker/trainer/bundle/bundle.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>

#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;

Json JsonOf(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return Json::object();
  return Json::parse(text);
}

absl::Status Fault(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(kBundleFile, ": ", what));
}

// Reads fields of one object and keeps the first fault.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}

  const absl::Status& status() const { return status_; }

  std::int64_t Whole(const char* key, std::int64_t least, std::int64_t most = kMost) {
    const Json* field = Find(key);
    return field == nullptr ? least : Whole(*field, key, least, most);
  }

  std::string Text(const char* key) {
    const Json* field = Find(key);
    if (field == nullptr || field->is_string()) return field == nullptr ? "" : field->get<std::string>();
    Fail(key);
    return "";
  }

  std::vector<std::int64_t> Wholes(const Json& list, const char* key, std::int64_t least, std::int64_t most) {
    std::vector<std::int64_t> values;
    if (!list.is_array() || list.empty()) {
      Fail(key);
      return values;
    }
    for (const Json& entry : list) values.push_back(Whole(entry, key, least, most));
    return values;
  }

  void Message(const char* key, google::protobuf::Message& message) {
    const Json* field = Find(key);
    if (field == nullptr) return;
    const auto parsed = google::protobuf::util::JsonStringToMessage(field->dump(), &message);
    if (!parsed.ok() && status_.ok()) status_ = Fault(absl::StrCat(key, ": ", std::string(parsed.message())));
  }

  const Json* Find(const char* key) {
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    if (status_.ok()) status_ = Fault(absl::StrCat(key, " is missing"));
    return nullptr;
  }

  void Fail(const char* key) {
    if (status_.ok()) status_ = Fault(absl::StrCat(key, " is not what it should be"));
  }

 private:
  std::int64_t Whole(const Json& value, const char* key, std::int64_t least, std::int64_t most) {
    const bool whole = value.is_number_integer() &&
                       !(value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(most));
    if (whole && value.get<std::int64_t>() >= least && value.get<std::int64_t>() <= most) {
      return value.get<std::int64_t>();
    }
    Fail(key);
    return least;
  }

  const Json& object_;
  absl::Status status_;
};

void ReadData(const Json& data, Reader& outer, Bundle& bundle) {
  if (!data.is_object()) return outer.Fail("data");
  Reader reader(data);
  bundle.samples = reader.Whole("samples", 1, std::numeric_limits<std::int64_t>::max());
  bundle.shape.context = reader.Whole("context", 0);
  bundle.shape.sample.classes = reader.Whole("classes", 1);
  // Tokens have none.
  if (const Json* features = reader.Find("features"); features != nullptr && !features->empty()) {
    bundle.shape.sample.features = reader.Wholes(*features, "features", 1, kMost);
  }
  if (!reader.status().ok()) outer.Fail("data");
}

void ReadMicroBatches(const Json& list, Reader& reader, Bundle& bundle) {
  if (!list.is_array() || list.empty()) return reader.Fail("micro_batches");
  for (const Json& micro_batch : list) {
    bundle.micro_batches.push_back(reader.Wholes(micro_batch, "micro_batches", 0, bundle.samples - 1));
  }
}

}  // namespace

std::string InputName(std::size_t micro_batch) { return absl::StrCat("input.", micro_batch); }
std::string TargetName(std::size_t micro_batch) { return absl::StrCat("target.", micro_batch); }

std::string EncodeBundle(const Bundle& bundle) {
  const Json json = {{"format", kFormat},
                     {"job_id", bundle.job_id},
                     {"attempt", bundle.attempt},
                     {"iteration", bundle.iteration},
                     {"window", bundle.window},
                     {"micro_batches", bundle.micro_batches},
                     {"data",
                      {{"samples", bundle.samples},
                       {"context", bundle.shape.context},
                       {"features", bundle.shape.sample.features},
                       {"classes", bundle.shape.sample.classes}}},
                     {"spec", JsonOf(bundle.spec)},
                     {"lineage", JsonOf(bundle.lineage)},
                     {"event", JsonOf(bundle.event)},
                     {"device", bundle.device},
                     {"replay", "mantissa-trainer --replay FOLDER"}};
  return json.dump(1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Bundle> ParseBundle(std::string_view text) {
  if (text.size() > kMaxBytes) return Fault("is too large");
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Fault("is not JSON");
  Reader reader(json);
  if (reader.Whole("format", 1) != kFormat && reader.status().ok()) return Fault("is of a newer format");
  Bundle bundle;
  bundle.job_id = reader.Text("job_id");
  bundle.attempt = static_cast<std::int32_t>(reader.Whole("attempt", 1));
  bundle.iteration = reader.Whole("iteration", 1);
  bundle.window = reader.Whole("window", 0);
  bundle.device = reader.Text("device");
  if (const Json* data = reader.Find("data")) ReadData(*data, reader, bundle);
  if (const Json* list = reader.Find("micro_batches")) ReadMicroBatches(*list, reader, bundle);
  reader.Message("spec", bundle.spec);
  reader.Message("lineage", bundle.lineage);
  reader.Message("event", bundle.event);
  if (!reader.status().ok()) return reader.status();
  const v1::PrecisionSpec::Mode mode = bundle.lineage.precision();
  if (mode == v1::PrecisionSpec::MODE_UNSPECIFIED || !v1::PrecisionSpec::Mode_IsValid(mode)) {
    return Fault("lineage names no precision");
  }
  if (absl::Status good = CheckSpec(bundle.spec); !good.ok()) return Fault(absl::StrCat("spec: ", good.message()));
  return bundle;
}

}  // namespace mantissa::trainer
