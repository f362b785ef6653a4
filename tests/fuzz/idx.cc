// A file of images or labels.
#include <string_view>

#include "tests/fuzz/hang_guard.h"
#include "worker/data/idx_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  const auto array = trainer::ParseIdx(file);
  if (!array.ok()) return 0;
  std::int64_t elements = 1;
  for (const std::int64_t size_of_one : array->sizes) {
    fuzz::Require(size_of_one > 0, "no dimension is empty");
    elements *= size_of_one;
  }
  fuzz::Require(elements == static_cast<std::int64_t>(array->elements.size()), "sizes and elements agree");
  fuzz::Require(array->elements.data() + array->elements.size() == file.data() + file.size(), "elements end the file");
  return 0;
}
