#include "process/utf8.h"

#include <algorithm>

namespace mantissa::process {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

}  // namespace

std::size_t Utf8Length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool outside = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}

std::string Utf8Prefix(std::string_view text, std::size_t max_bytes) {
  std::string prefix;
  while (!text.empty()) {
    const std::size_t length = Utf8Length(text);
    const std::string_view character = length == 0 ? kReplacement : text.substr(0, length);
    if (prefix.size() + character.size() > max_bytes) break;
    prefix += character;
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return prefix;
}

}  // namespace mantissa::process
