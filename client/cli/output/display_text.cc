#include "client/cli/output/display_text.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace mantissa::cli {
namespace {

struct Decoded {
  std::uint32_t code = 0xFFFD;
  std::size_t length = 1;
  bool valid = false;
};

// The character at `at`; a malformed one takes one byte.
Decoded Decode(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t length = 0;
  std::uint32_t code = 0;
  std::uint32_t smallest = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2, code = lead & 0x1Fu, smallest = 0x80;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3, code = lead & 0x0Fu, smallest = 0x800;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4, code = lead & 0x07u, smallest = 0x10000;
  } else {
    return {};
  }
  if (at + length > text.size()) return {};
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0u) != 0x80u) return {};
    code = (code << 6) | (byte(at + i) & 0x3Fu);
  }
  if (code < smallest || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {code, length, true};
}

struct Range {
  std::uint32_t from, to;
};
constexpr std::array<Range, 6> kZeroWidth = {
    {{0x300, 0x36F}, {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2069}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}}};
constexpr std::array<Range, 9> kWide = {{{0x1100, 0x115F},
                                         {0x2E80, 0xA4CF},
                                         {0xAC00, 0xD7A3},
                                         {0xF900, 0xFAFF},
                                         {0xFE30, 0xFE6F},
                                         {0xFF00, 0xFF60},
                                         {0xFFE0, 0xFFE6},
                                         {0x1F300, 0x1FAFF},
                                         {0x20000, 0x3FFFD}}};

template <std::size_t N>
bool In(const std::array<Range, N>& ranges, std::uint32_t code) {
  return std::any_of(ranges.begin(), ranges.end(), [&](Range r) { return code >= r.from && code <= r.to; });
}

int Columns(std::uint32_t code) {
  if (In(kZeroWidth, code)) return 0;
  return In(kWide, code) ? 2 : 1;
}

bool IsControl(std::uint32_t code) {
  // The bidirectional controls reorder what is shown, so they are as harmful here as an escape sequence.
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x202A && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0x2028 || code == 0x2029;
}

std::string_view AsciiFor(std::uint32_t code) {
  switch (code) {
    case 0x00B7:
      return "-";  // ·
    case 0x00D7:
      return "x";  // ×
    case 0x2013:
      return "-";  // –
    case 0x2014:
      return "-";  // —
    case 0x2026:
      return "...";  // …
    case 0x2192:
      return "->";  // →
    case 0x2501:
      return "=";  // ━
    case 0x2578:
      return ">";  // ╸
    case 0x2500:
      return "-";  // ─
    case 0x2502:
      return "|";  // │
    case 0x2504:
      return "~";  // ┄
    case 0x2514:
      return "+";  // └
    case 0x2524:
      return "+";  // ┤
    case 0x252C:
      return "+";  // ┬
    case 0x254E:
      return ":";  // ╎
    case 0x25BC:
      return "v";  // ▼
    case 0x25CF:
      return "o";  // ●
    case 0x2581:
      return "_";  // ▁ to █: the heights of a sparkline
    case 0x2582:
      return ".";
    case 0x2583:
      return ":";
    case 0x2584:
      return "-";
    case 0x2585:
      return "=";
    case 0x2586:
      return "+";
    case 0x2587:
      return "*";
    case 0x2588:
      return "#";
    default:
      return "?";
  }
}

}  // namespace

std::size_t FirstNonUtf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Decoded c = Decode(text, at);
    if (!c.valid) return at;
    at += c.length;
  }
  return std::string_view::npos;
}

std::string ForTerminal(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Decoded c = Decode(text, at);
    if (c.valid && (c.code == '\n' || c.code == '\t')) {
      result += ' ';
    } else if (!c.valid || IsControl(c.code)) {
      result += "\xEF\xBF\xBD";
    } else {
      result += text.substr(at, c.length);
    }
    at += c.length;
  }
  return result;
}

std::string ToAscii(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const Decoded c = Decode(text, at);
    if (c.valid && c.code < 0x80) {
      result += static_cast<char>(c.code);
    } else {
      result += AsciiFor(c.code);
    }
    at += c.length;
  }
  return result;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Decoded c = Decode(text, at);
    width += Columns(c.code);
    at += c.length;
  }
  return width;
}

std::string Clip(std::string_view text, int width, std::string_view ellipsis) {
  if (width <= 0) return "";
  if (DisplayWidth(text) <= width) return std::string(text);
  const int mark = DisplayWidth(ellipsis) < width ? DisplayWidth(ellipsis) : 0;
  int used = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const Decoded c = Decode(text, at);
    const int columns = Columns(c.code);
    if (used + columns > width - mark) break;
    used += columns;
    at += c.length;
  }
  std::string result(text.substr(0, at));
  if (mark > 0) result += ellipsis;
  return result;
}

std::string PadRight(std::string_view text, int width) {
  return std::string(text) + std::string(std::max(0, width - DisplayWidth(text)), ' ');
}

std::string PadLeft(std::string_view text, int width) {
  return std::string(std::max(0, width - DisplayWidth(text)), ' ') + std::string(text);
}

}  // namespace mantissa::cli
