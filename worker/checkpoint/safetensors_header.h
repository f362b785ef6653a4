// The JSON part of a safetensors file, read strictly and without building a tree of it: at most 100 MB of somebody
// else's text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "worker/checkpoint/safetensors.h"

namespace mantissa::trainer {

struct SafetensorsEntry {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;
  std::int64_t end = 0;  // not below begin
};

struct ParsedSafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  TensorMetadata metadata;
};

// Names are unique and every entry is complete; that the offsets fit the file and the shapes is the caller's to check.
absl::StatusOr<ParsedSafetensorsHeader> ParseSafetensorsHeader(std::string_view json);

}  // namespace mantissa::trainer
