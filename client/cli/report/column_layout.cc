#include "client/cli/report/column_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {
namespace {

constexpr int kGap = 2;
constexpr int kLeastProse = 24;  // sentences in less are hard to read

struct Placed {
  const ReportColumn* column;
  int width;
};
using Block = std::vector<Placed>;

int WidestWord(const ReportColumn& column) {
  int widest = 0;
  for (const std::string& word : column.heading) widest = std::max(widest, DisplayWidth(word));
  return widest;
}

int NaturalWidth(const ReportColumn& column) {
  int widest = WidestWord(column);
  for (const std::string& cell : column.cells) widest = std::max(widest, DisplayWidth(cell));
  return widest;
}

int WidthOf(const Block& block) {
  int width = 0;
  for (const Placed& placed : block) width += placed.width + kGap;
  return width - kGap;
}

// The columns that begin every block: all that say which row it is, unless they leave too little room.
Block KeysOf(const std::vector<ReportColumn>& columns, int width) {
  Block keys;
  for (const ReportColumn& column : columns) {
    if (column.key) keys.push_back({&column, NaturalWidth(column)});
  }
  if (keys.size() > 1 && WidthOf(keys) > width / 2) return {keys.front()};
  return keys;
}

std::vector<Block> BlocksOf(const std::vector<ReportColumn>& columns, int width) {
  const Block keys = KeysOf(columns, width);
  std::vector<Block> blocks = {keys};
  for (const ReportColumn& column : columns) {
    const bool begins = std::any_of(keys.begin(), keys.end(), [&](const Placed& key) { return key.column == &column; });
    if (begins) continue;
    const int natural = NaturalWidth(column);
    const int least = column.prose ? std::max(WidestWord(column), std::min(natural, kLeastProse)) : natural;
    if (blocks.back().size() > keys.size() && WidthOf(blocks.back()) + kGap + least > width) blocks.push_back(keys);
    const int room = std::max(least, width - WidthOf(blocks.back()) - kGap);
    blocks.back().push_back({&column, column.prose ? std::min(natural, room) : natural});
    // Sentences take what is left of a line.
    if (column.prose) blocks.push_back(keys);
  }
  if (blocks.size() > 1 && blocks.back().size() == keys.size()) blocks.pop_back();
  return blocks;
}

// Words that fit are put on one line.
std::vector<std::string> HeadingLines(const Placed& placed) {
  std::vector<std::string> lines;
  for (const std::string& word : placed.column->heading) {
    if (!lines.empty() && DisplayWidth(lines.back()) + 1 + DisplayWidth(word) <= placed.width) {
      absl::StrAppend(&lines.back(), " ", word);
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

// One line for each of the tallest cell's; cells stand at the top, or with `bottom` at the bottom.
void AppendRow(const Block& block, const std::vector<std::vector<std::string>>& cells, bool bottom, std::string& text) {
  std::size_t height = 1;
  for (const auto& cell : cells) height = std::max(height, cell.size());
  for (std::size_t line = 0; line < height; ++line) {
    std::string joined;
    for (std::size_t i = 0; i < block.size(); ++i) {
      const std::size_t above = bottom ? height - cells[i].size() : 0;
      const bool there = line >= above && line - above < cells[i].size();
      const std::string part = there ? cells[i][line - above] : "";
      if (i > 0) joined += std::string(kGap, ' ');
      joined += block[i].column->right ? PadLeft(part, block[i].width) : PadRight(part, block[i].width);
    }
    joined.erase(joined.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, joined, "\n");
  }
}

void AppendBlock(const Block& block, std::string& text) {
  std::vector<std::vector<std::string>> cells;
  for (const Placed& placed : block) cells.push_back(HeadingLines(placed));
  AppendRow(block, cells, /*bottom=*/true, text);
  for (std::size_t row = 0; row < block.front().column->cells.size(); ++row) {
    cells.clear();
    for (const Placed& placed : block) {
      const std::string& cell = placed.column->cells[row];
      cells.push_back(placed.column->prose ? WrapWords(cell, placed.width) : std::vector<std::string>{cell});
    }
    AppendRow(block, cells, /*bottom=*/false, text);
  }
}

}  // namespace

std::string LayOut(const std::vector<ReportColumn>& columns, int width) {
  std::string text;
  if (columns.empty()) return text;
  for (const Block& block : BlocksOf(columns, width)) {
    if (!text.empty()) text += "\n";
    AppendBlock(block, text);
  }
  return text;
}

}  // namespace mantissa::cli
