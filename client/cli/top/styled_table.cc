#include "client/cli/top/styled_table.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/watch/watch_view.h"

namespace mantissa::cli {
namespace {

constexpr int kGap = 2;
constexpr int kLeastBar = 6;
constexpr int kMostBar = 24;

std::string Shown(const std::string& text, const ViewOptions& options) { return options.utf8 ? text : ToAscii(text); }

}  // namespace

void StyledTable::Add(std::vector<Cell> cells) {
  cells.resize(columns_.size());
  for (Cell& cell : cells) cell.span.text = ForTerminal(cell.span.text);
  rows_.push_back(std::move(cells));
}

StyledTable::Fitted StyledTable::Fit(const ViewOptions& options) const {
  Fitted fitted;
  std::vector<int> natural;
  std::size_t bar = columns_.size();
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    int widest = 0;
    for (const auto& row : rows_) {
      if (row[c].bar) bar = c;
      widest = std::max(widest, row[c].bar ? kLeastBar : DisplayWidth(Shown(row[c].span.text, options)));
    }
    const bool has_any = widest > 0 || columns_[c].rank == 0;
    natural.push_back(std::max(widest, DisplayWidth(columns_[c].heading)));
    if (has_any) fitted.columns.push_back(c);
  }
  while (true) {
    fitted.widths.clear();
    for (const std::size_t c : fitted.columns) fitted.widths.push_back(natural[c]);
    const int gaps = kGap * std::max(0, static_cast<int>(fitted.columns.size()) - 1);
    int over = std::accumulate(fitted.widths.begin(), fitted.widths.end(), gaps) - options.width;
    for (std::size_t i = fitted.columns.size(); i-- > 0 && over > 0;) {
      const int least = columns_[fitted.columns[i]].least;
      if (least == 0 || fitted.widths[i] <= least) continue;
      const int cut = std::min(over, fitted.widths[i] - least);
      fitted.widths[i] -= cut;
      over -= cut;
    }
    if (over <= 0) {
      for (std::size_t i = 0; i < fitted.columns.size(); ++i) {
        if (fitted.columns[i] == bar) fitted.widths[i] += std::min(-over, kMostBar - kLeastBar);
      }
      return fitted;
    }
    std::size_t worst = 0;
    for (std::size_t i = 1; i < fitted.columns.size(); ++i) {
      if (columns_[fitted.columns[i]].rank >= columns_[fitted.columns[worst]].rank) worst = i;
    }
    if (columns_[fitted.columns[worst]].rank == 0) return fitted;  // each line is cut where it ends
    fitted.columns.erase(fitted.columns.begin() + static_cast<std::ptrdiff_t>(worst));
  }
}

std::string StyledTable::Line(const Fitted& fitted, const std::vector<Cell>& cells, const ViewOptions& options) const {
  const std::string ellipsis = options.utf8 ? "…" : "...";
  std::string text;
  int room = options.width;
  for (std::size_t i = 0; i < fitted.columns.size() && room > 0; ++i) {
    const Column& column = columns_[fitted.columns[i]];
    const Cell& cell = cells[fitted.columns[i]];
    const int width = std::min(fitted.widths[i], room);
    std::vector<Span> spans = {cell.span};
    if (cell.bar) spans = Bar(*cell.bar, width);
    int used = 0;
    std::string shown;
    for (const Span& span : spans) {
      const std::string part = Clip(Shown(span.text, options), width - used, ellipsis);
      used += DisplayWidth(part);
      shown += Styled({part, span.style}, options.color);
    }
    const std::string fill(static_cast<std::size_t>(std::max(0, width - used)), ' ');
    const bool last = i + 1 == fitted.columns.size();
    text += column.right ? fill + shown : last ? shown : shown + fill;
    room -= width;
    const int gap = last ? 0 : std::min(kGap, room);
    text.append(static_cast<std::size_t>(gap), ' ');
    room -= gap;
  }
  // No line ends in blanks, coloured or not: nothing was written in them.
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::vector<std::string> StyledTable::Lines(const ViewOptions& options, std::size_t most) const {
  const Fitted fitted = Fit(options);
  std::vector<Cell> headings;
  for (const Column& column : columns_) headings.emplace_back(column.heading, Style::kBold);
  std::vector<std::string> lines = {Line(fitted, headings, options)};
  const std::size_t shown = rows_.size() <= most ? rows_.size() : most - std::min<std::size_t>(most, 1);
  for (std::size_t row = 0; row < shown; ++row) lines.push_back(Line(fitted, rows_[row], options));
  if (shown < rows_.size() && most > 0) {
    const std::string rest = Clip(absl::StrCat("and ", rows_.size() - shown, " more"), options.width, "");
    lines.push_back(Styled({rest, Style::kDim}, options.color));
  }
  return lines;
}

}  // namespace mantissa::cli
