// A file of tensors that a tenant gives to begin from: every tensor lies within the file, and what is read can be
// written again.
#include "worker/checkpoint/safetensors.h"

#include <cstring>
#include <string>
#include <string_view>

#include "tests/fuzz/hang_guard.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  const auto parsed = trainer::ParseSafetensors(file);
  if (!parsed.ok()) return 0;
  for (const trainer::TensorView& tensor : parsed->tensors) {
    fuzz::Require(tensor.bytes.empty() || (tensor.bytes.data() >= file.data() &&
                                           tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size()),
                  "a tensor lies within its file");
    const auto bytes = trainer::TensorBytes(tensor.type, tensor.shape);
    fuzz::Require(bytes.has_value() && *bytes == static_cast<std::int64_t>(tensor.bytes.size()),
                  "shape and bytes agree");
    fuzz::Require(parsed->Find(tensor.name) != nullptr, "a tensor is found by its name");
  }
  const auto header = trainer::SafetensorsHeader(parsed->tensors, parsed->metadata);
  fuzz::Require(header.ok(), "what was read can be written");
  std::string again = *header;
  for (const trainer::TensorView& tensor : parsed->tensors) again += tensor.bytes;
  const auto reread = trainer::ParseSafetensors(again);
  fuzz::Require(reread.ok() && reread->tensors.size() == parsed->tensors.size() && reread->metadata == parsed->metadata,
                "what was written reads the same");
  return 0;
}
