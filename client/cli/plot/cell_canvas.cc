#include "client/cli/plot/cell_canvas.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace mantissa::cli {
namespace {

// Bits of U+2800 + bits, by row and column of the dot.
constexpr std::array<std::array<std::uint8_t, 2>, 4> kBrailleBits = {
    {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};
constexpr std::array<const char*, 4> kAsciiSigns = {" ", "'", ".", ":"};

std::string Braille(std::uint8_t bits) {
  // U+2800..U+28FF in UTF-8.
  return {static_cast<char>(0xE2), static_cast<char>(0xA0 | (bits >> 6)), static_cast<char>(0x80 | (bits & 0x3F))};
}

}  // namespace

CellCanvas::CellCanvas(int columns, int rows, Glyphs glyphs)
    : columns_(std::max(1, columns)),
      rows_(std::max(1, rows)),
      glyphs_(glyphs),
      dots_across_(glyphs == Glyphs::kBraille ? 2 : 1),
      dots_down_(glyphs == Glyphs::kBraille ? 4 : 2),
      cells_(static_cast<std::size_t>(columns_) * static_cast<std::size_t>(rows_)) {}

CellCanvas::Cell* CellCanvas::CellAt(int column, int row) {
  if (column < 0 || column >= columns_ || row < 0 || row >= rows_) return nullptr;
  return &cells_[static_cast<std::size_t>(row) * static_cast<std::size_t>(columns_) + static_cast<std::size_t>(column)];
}

void CellCanvas::Dot(int x, int y, Style style) {
  if (x < 0 || y < 0) return;
  Cell* const cell = CellAt(x / dots_across_, RowOf(y));
  if (cell == nullptr) return;
  if (cell->dots == 0 || style != Style::kDim) cell->style = style;
  const auto across = static_cast<std::size_t>(x % dots_across_);
  const auto down = static_cast<std::size_t>(y % dots_down_);
  cell->dots |= glyphs_ == Glyphs::kBraille ? kBrailleBits[down][across] : static_cast<std::uint8_t>(1u << down);
}

void CellCanvas::Line(int x0, int y0, int x1, int y1, Style style) {
  const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
  for (int i = 0; i <= steps; ++i) {
    // Rounded to the nearest dot; halves away from the start, alike in both directions.
    const auto between = [&](int from, int to) {
      const int way = 2 * i * std::abs(to - from) + steps;
      return from + (to < from ? -1 : 1) * (way / (2 * steps));
    };
    Dot(between(x0, x1), between(y0, y1), style);
  }
}

void CellCanvas::Put(int column, int row, const std::string& sign, Style style) {
  Cell* const cell = CellAt(column, row);
  if (cell == nullptr) return;
  cell->sign = sign;
  cell->style = style;
}

void CellCanvas::Fill(int column, const std::string& sign, Style style) {
  for (int row = 0; row < rows_; ++row) {
    Cell* const cell = CellAt(column, row);
    if (cell != nullptr && cell->dots == 0 && cell->sign.empty()) Put(column, row, sign, style);
  }
}

std::string CellCanvas::TextOf(const Cell& cell) const {
  if (!cell.sign.empty()) return cell.sign;
  if (cell.dots == 0) return " ";
  return glyphs_ == Glyphs::kBraille ? Braille(cell.dots) : kAsciiSigns[cell.dots];
}

std::vector<std::vector<Span>> CellCanvas::Rows() const {
  std::vector<std::vector<Span>> rows(static_cast<std::size_t>(rows_));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const auto begin = cells_.begin() + static_cast<std::ptrdiff_t>(row) * columns_;
    auto end = begin + columns_;
    while (end != begin && (end - 1)->dots == 0 && (end - 1)->sign.empty()) --end;
    for (auto cell = begin; cell != end; ++cell) {
      // Neighbours of one style are one span: fewer escape sequences.
      if (rows[row].empty() || rows[row].back().style != cell->style) rows[row].push_back({"", cell->style});
      rows[row].back().text += TextOf(*cell);
    }
  }
  return rows;
}

}  // namespace mantissa::cli
