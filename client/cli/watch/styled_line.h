// One line of coloured parts that fits a width.
#pragma once

#include <string>
#include <vector>

namespace mantissa::cli {

struct ViewOptions {
  int width = 80;  // columns; no line is wider
  bool color = false;
  bool utf8 = true;
};

enum class Style { kPlain, kBold, kDim, kGood, kWarn, kBad, kAccent };

struct Span {
  std::string text;
  Style style = Style::kPlain;
};

// The text in its colour, and plain after it.
std::string Styled(const Span& span, bool color);

// Parts set apart by three spaces. When they don't fit, the part with the highest rank goes first, of several the last;
// what is left at rank 0 is cut. Not thread-safe.
class StyledLine {
 public:
  void Add(int rank, std::vector<Span> spans) { parts_.push_back({rank, false, std::move(spans)}); }
  // As Add, but follows the part before it without a space, and goes when that one goes.
  void Join(int rank, std::vector<Span> spans) { parts_.push_back({rank, true, std::move(spans)}); }

  bool empty() const { return parts_.empty(); }
  std::string Text(const ViewOptions& options) const;

 private:
  struct Part {
    int rank;
    bool joined;
    std::vector<Span> spans;
  };

  std::vector<Part> parts_;
};

// Lines of at most `width` columns, cut at spaces; a word that is longer is cut where the line ends.
std::vector<std::string> WrapWords(const std::string& text, int width);

}  // namespace mantissa::cli
