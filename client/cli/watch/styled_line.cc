#include "client/cli/watch/styled_line.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"

namespace mantissa::cli {
namespace {

constexpr int kGap = 3;

std::string_view Code(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\x1b[1m";
    case Style::kDim:
      return "\x1b[2m";
    case Style::kGood:
      return "\x1b[32m";
    case Style::kWarn:
      return "\x1b[33m";
    case Style::kBad:
      return "\x1b[1;31m";
    case Style::kAccent:
      return "\x1b[36m";
  }
  return "";
}

int Width(const std::vector<Span>& spans) {
  int width = 0;
  for (const Span& span : spans) width += DisplayWidth(span.text);
  return width;
}

}  // namespace

std::string Styled(const Span& span, bool color) {
  if (!color || span.style == Style::kPlain || span.text.empty()) return span.text;
  return absl::StrCat(std::string(Code(span.style)), span.text, "\x1b[0m");
}

std::string StyledLine::Text(const ViewOptions& options) const {
  std::vector<Part> parts = parts_;
  if (!options.utf8) {
    for (Part& part : parts) {
      for (Span& span : part.spans) span.text = ToAscii(span.text);
    }
  }
  const auto total = [&] {
    int width = 0;
    for (std::size_t i = 0; i < parts.size(); ++i)
      width += Width(parts[i].spans) + (i > 0 && !parts[i].joined ? kGap : 0);
    return width;
  };
  while (total() > options.width) {
    std::size_t worst = 0;
    for (std::size_t i = 1; i < parts.size(); ++i) {
      if (parts[i].rank >= parts[worst].rank) worst = i;
    }
    if (parts.empty() || parts[worst].rank == 0) break;
    const bool takes_next = worst + 1 < parts.size() && parts[worst + 1].joined && !parts[worst].joined;
    const auto from = parts.begin() + static_cast<std::ptrdiff_t>(worst);
    parts.erase(from, from + (takes_next ? 2 : 1));
  }
  std::string text;
  int room = options.width;
  for (std::size_t i = 0; i < parts.size() && room > 0; ++i) {
    if (i > 0 && !parts[i].joined) {
      text += std::string(static_cast<std::size_t>(std::min(kGap, room)), ' ');
      room -= std::min(kGap, room);
    }
    for (const Span& span : parts[i].spans) {
      const std::string clipped = Clip(span.text, room, options.utf8 ? "…" : "...");
      text += Styled({clipped, span.style}, options.color);
      room -= DisplayWidth(clipped);
    }
  }
  return text;
}

std::vector<std::string> WrapWords(const std::string& text, int width) {
  std::vector<std::string> lines;
  std::string rest = text;
  while (DisplayWidth(rest) > width) {
    // The longest beginning that fits, then back to a space in it.
    const std::string fits = Clip(rest, width, "");
    std::size_t cut = rest[fits.size()] == ' ' ? fits.size() : fits.rfind(' ');
    if (cut == std::string::npos || cut == 0) cut = fits.empty() ? 1 : fits.size();
    lines.push_back(rest.substr(0, cut));
    const std::size_t next = rest.find_first_not_of(' ', cut);
    rest = next == std::string::npos ? "" : rest.substr(next);
  }
  if (!rest.empty() || lines.empty()) lines.push_back(rest);
  return lines;
}

}  // namespace mantissa::cli
