#include "worker/checkpoint/safetensors_header.h"

#include <limits>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace mantissa::trainer {
namespace {

constexpr std::size_t kMaxDimensions = 64;

// Follows the parser through {"name": {"dtype": .., "shape": [..], "data_offsets": [..]}, "__metadata__": {..}} and
// stops it at the first thing that stands anywhere else.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  ParsedSafetensorsHeader Take() { return std::move(header_); }
  const std::string& fault() const { return fault_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) return Unexpected("a number");
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
      return Fail("a number above 2^63");
    }
    std::vector<std::int64_t>& list = place_ == Place::kShape ? entry_.shape : offsets_;
    if (list.size() == (place_ == Place::kShape ? kMaxDimensions : 2)) return Fail("too many numbers");
    list.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      return header_.metadata.emplace(key_, value).second || Fail(absl::StrCat("metadata ", key_, " occurs twice"));
    }
    if (place_ != Place::kEntry || key_ != "dtype") return Unexpected("a string");
    const std::optional<TensorType> type = TensorTypeOf(value);
    if (!type) return Fail(absl::StrCat("the type ", value, " is not known"));
    entry_.type = *type;
    return true;
  }

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kFile;
        return true;
      case Place::kFile:
        place_ = key_ == "__metadata__" ? Place::kMetadata : Place::kEntry;
        fields_.clear();
        entry_ = SafetensorsEntry();
        entry_.name = key_;
        offsets_.clear();
        return true;
      default:
        return Unexpected("an object");
    }
  }

  bool key(string_t& value) override {
    key_ = value;
    if (place_ == Place::kFile) return names_.insert(value).second || Fail(absl::StrCat(value, " occurs twice"));
    if (place_ == Place::kEntry && !fields_.insert(value).second) {
      return Fail(absl::StrCat("field ", value, " of ", entry_.name, " occurs twice"));
    }
    if (place_ == Place::kEntry && value != "dtype" && value != "shape" && value != "data_offsets") {
      return Fail(absl::StrCat("unknown field ", value, " of ", entry_.name));
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kEntry) {
      if (fields_.size() != 3) return Fail(absl::StrCat(entry_.name, " lacks dtype, shape or data_offsets"));
      if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) {
        return Fail(absl::StrCat("data_offsets of ", entry_.name, " are not a begin and an end"));
      }
      entry_.begin = offsets_[0];
      entry_.end = offsets_[1];
      header_.entries.push_back(std::move(entry_));
    }
    place_ = place_ == Place::kFile ? Place::kDone : Place::kFile;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kEntry && key_ == "shape") {
      place_ = Place::kShape;
    } else if (place_ == Place::kEntry && key_ == "data_offsets") {
      place_ = Place::kOffsets;
    } else {
      return Unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kEntry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(absl::StrCat("the header is not JSON (byte ", position, ")"));
  }

 private:
  enum class Place { kOutside, kFile, kMetadata, kEntry, kShape, kOffsets, kDone };

  bool Fail(std::string fault) {
    fault_ = std::move(fault);
    return false;
  }
  bool Unexpected(const char* what) { return Fail(absl::StrCat("unexpected ", what, " at ", key_)); }

  Place place_ = Place::kOutside;
  std::string key_;
  std::set<std::string> names_;
  std::set<std::string> fields_;  // of the entry under way
  SafetensorsEntry entry_;
  std::vector<std::int64_t> offsets_;
  ParsedSafetensorsHeader header_;
  std::string fault_;
};

}  // namespace

absl::StatusOr<ParsedSafetensorsHeader> ParseSafetensorsHeader(std::string_view json) {
  if (json.empty() || json.front() != '{') return absl::InvalidArgumentError("the header is not a JSON object");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json, &reader)) return absl::InvalidArgumentError(reader.fault());
  return reader.Take();
}

}  // namespace mantissa::trainer
