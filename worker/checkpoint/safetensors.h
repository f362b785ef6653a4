// The safetensors format (github.com/huggingface/safetensors), by hand because it is small and a security boundary.
//
// A file is: the header's length as 8 little-endian bytes, the header as a JSON object, the tensors' bytes. An entry of
// the header: "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, offsets counted from the end of
// the header; "__metadata__" holds strings by name. Elements are little-endian, last dimension fastest. The tensors
// cover the bytes after the header without holes and without overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mantissa::trainer {

enum class TensorType { kBool, kU8, kI8, kU16, kI16, kF16, kBF16, kU32, kI32, kF32, kU64, kI64, kF64 };

std::string_view TensorTypeName(TensorType type);  // `F32`
std::optional<TensorType> TensorTypeOf(std::string_view name);
std::int64_t TensorTypeBytes(TensorType type);

// Bytes of all elements; nothing when a size is negative or the product leaves 64 bits.
std::optional<std::int64_t> TensorBytes(TensorType type, std::span<const std::int64_t> shape);

// A tensor as it lies in memory: contiguous, its elements little-endian.
struct TensorView {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;  // empty: one element
  std::string_view bytes;
};

using TensorMetadata = std::map<std::string, std::string>;

struct SafetensorsFile {
  std::vector<TensorView> tensors;  // in file order; their bytes lie in the parsed file
  TensorMetadata metadata;

  const TensorView* Find(std::string_view name) const;  // null when it is not there
};

inline constexpr std::int64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // the format's own limit

// Any bytes may be given; INVALID_ARGUMENT says what is wrong with them. The result points into `file`.
absl::StatusOr<SafetensorsFile> ParseSafetensors(std::string_view file);

// Everything before the tensors' bytes; the tensors follow in this order without a gap. INVALID_ARGUMENT when a name is
// not UTF-8 or occurs twice, or when a tensor's bytes are not as many as its shape says.
absl::StatusOr<std::string> SafetensorsHeader(std::span<const TensorView> tensors, const TensorMetadata& metadata);

}  // namespace mantissa::trainer
