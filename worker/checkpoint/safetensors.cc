#include "worker/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "worker/checkpoint/safetensors_header.h"

namespace mantissa::trainer {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kAlignment = 8;  // of the first tensor

struct TypeFacts {
  TensorType type;
  std::string_view name;
  std::int64_t bytes;
};

constexpr std::array<TypeFacts, 13> kTypes = {{{TensorType::kBool, "BOOL", 1},
                                               {TensorType::kU8, "U8", 1},
                                               {TensorType::kI8, "I8", 1},
                                               {TensorType::kU16, "U16", 2},
                                               {TensorType::kI16, "I16", 2},
                                               {TensorType::kF16, "F16", 2},
                                               {TensorType::kBF16, "BF16", 2},
                                               {TensorType::kU32, "U32", 4},
                                               {TensorType::kI32, "I32", 4},
                                               {TensorType::kF32, "F32", 4},
                                               {TensorType::kU64, "U64", 8},
                                               {TensorType::kI64, "I64", 8},
                                               {TensorType::kF64, "F64", 8}}};

const TypeFacts& FactsOf(TensorType type) { return kTypes[static_cast<std::size_t>(type)]; }

absl::Status Fault(const std::string& what) { return absl::InvalidArgumentError("safetensors: " + what); }

// The tensors must lie one after another from the first byte to the last.
absl::Status CheckCover(std::vector<SafetensorsEntry>& entries, std::int64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::int64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_bytes) return Fault(absl::StrCat("tensor ", entry.name, " ends after the file"));
    if (entry.begin < covered) return Fault(absl::StrCat("tensor ", entry.name, " overlaps another"));
    if (entry.begin > covered) return Fault(absl::StrCat("unused bytes before tensor ", entry.name));
    covered = entry.end;
  }
  if (covered != data_bytes) return Fault(absl::StrCat(data_bytes - covered, " bytes after the last tensor"));
  return absl::OkStatus();
}

}  // namespace

std::string_view TensorTypeName(TensorType type) { return FactsOf(type).name; }

std::optional<TensorType> TensorTypeOf(std::string_view name) {
  for (const TypeFacts& facts : kTypes) {
    if (facts.name == name) return facts.type;
  }
  return std::nullopt;
}

std::int64_t TensorTypeBytes(TensorType type) { return FactsOf(type).bytes; }

std::optional<std::int64_t> TensorBytes(TensorType type, std::span<const std::int64_t> shape) {
  std::int64_t bytes = TensorTypeBytes(type);
  // A zero anywhere makes the product zero, whatever the others would overflow to.
  for (const std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) bytes = 0;
  }
  for (const std::int64_t size : shape) {
    if (bytes != 0 && __builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return bytes;
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

absl::StatusOr<SafetensorsFile> ParseSafetensors(std::string_view file) {
  if (file.size() < kLengthBytes) return Fault(absl::StrCat("only ", file.size(), " bytes; a header takes more"));
  std::uint64_t length = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) length = length << 8 | static_cast<unsigned char>(file[i]);
  if (length > static_cast<std::uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return Fault(absl::StrCat("a header of ", length, " bytes; at most ", kMaxSafetensorsHeaderBytes, " are allowed"));
  }
  if (length > file.size() - kLengthBytes) {
    return Fault(absl::StrCat("the file is cut off inside its header of ", length, " bytes"));
  }
  auto header = ParseSafetensorsHeader(file.substr(kLengthBytes, length));
  if (!header.ok()) return Fault(std::string(header.status().message()));
  const std::string_view data = file.substr(kLengthBytes + length);
  if (absl::Status cover = CheckCover(header->entries, static_cast<std::int64_t>(data.size())); !cover.ok()) {
    return cover;
  }
  SafetensorsFile result;
  result.metadata = std::move(header->metadata);
  for (SafetensorsEntry& entry : header->entries) {
    const std::optional<std::int64_t> bytes = TensorBytes(entry.type, entry.shape);
    if (bytes != entry.end - entry.begin) {
      return Fault(absl::StrCat("tensor ", entry.name, " has ", entry.end - entry.begin,
                                " bytes, but its shape and type take ",
                                bytes ? absl::StrCat(*bytes) : "more than 2^63"));
    }
    result.tensors.push_back({std::move(entry.name), entry.type, std::move(entry.shape),
                              data.substr(static_cast<std::size_t>(entry.begin), static_cast<std::size_t>(*bytes))});
  }
  return result;
}

absl::StatusOr<std::string> SafetensorsHeader(std::span<const TensorView> tensors, const TensorMetadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string_view> names = {"__metadata__"};
  std::int64_t begin = 0;
  for (const TensorView& tensor : tensors) {
    const auto size = static_cast<std::int64_t>(tensor.bytes.size());
    if (!names.insert(tensor.name).second) return Fault(absl::StrCat("tensor name ", tensor.name, " is taken"));
    if (TensorBytes(tensor.type, tensor.shape) != size) {
      return Fault(absl::StrCat("tensor ", tensor.name, " has ", size, " bytes, which its shape does not"));
    }
    // Through push_back and not operator[], which searches all entries.
    header.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
        tensor.name,
        nlohmann::ordered_json{
            {"dtype", TensorTypeName(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {begin, begin + size}}});
    begin += size;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    return Fault("a name is not UTF-8");
  }
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  std::string bytes;
  for (std::size_t i = 0; i < kLengthBytes; ++i) bytes.push_back(static_cast<char>(text.size() >> (8 * i)));
  return bytes + text;
}

}  // namespace mantissa::trainer
