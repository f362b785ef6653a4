#include "client/cli/output/table.h"

#include <algorithm>
#include <utility>

#include "client/cli/output/display_text.h"

namespace mantissa::cli {

Table::Table(std::vector<std::string> headings) {
  for (std::string& heading : headings) {
    const bool right = !heading.empty() && heading.front() == '>';
    right_.push_back(right);
    headings_.push_back(right ? heading.substr(1) : std::move(heading));
  }
}

void Table::Add(std::vector<std::string> cells) {
  cells.resize(headings_.size());
  for (std::string& cell : cells) cell = cell.empty() ? "-" : ForTerminal(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Text(int width) const {
  std::vector<int> widths;
  for (std::size_t i = 0; i < headings_.size(); ++i) {
    int widest = DisplayWidth(headings_[i]);
    for (const auto& row : rows_) widest = std::max(widest, DisplayWidth(row[i]));
    widths.push_back(widest);
  }
  std::string text;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string joined;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) joined += "  ";
      const bool last = i + 1 == cells.size();
      joined += right_[i] ? PadLeft(cells[i], widths[i]) : last ? cells[i] : PadRight(cells[i], widths[i]);
    }
    text += (width > 0 ? Clip(joined, width) : joined) + "\n";
  };
  line(headings_);
  for (const auto& row : rows_) line(row);
  return text;
}

}  // namespace mantissa::cli
