// A drawing in the cells of a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {

enum class Glyphs {
  kBraille,  // 2 x 4 dots a cell
  kAscii     // 1 x 2 dots a cell, as . ' and :
};

// Dots are counted from the upper left corner; what lies outside is dropped. A cell has one style, that of the newest
// dot in it, but a dim dot does not change that of others. Not thread-safe.
class CellCanvas {
 public:
  CellCanvas(int columns, int rows, Glyphs glyphs);

  int columns() const { return columns_; }
  int rows() const { return rows_; }
  int dots_wide() const { return columns_ * dots_across_; }
  int dots_high() const { return rows_ * dots_down_; }
  int RowOf(int y) const { return y / dots_down_; }

  void Dot(int x, int y, Style style);
  // Both ends belong to it.
  void Line(int x0, int y0, int x1, int y1, Style style);
  // A sign of one column, in front of all dots of its cell.
  void Put(int column, int row, const std::string& sign, Style style);
  // A sign in every cell of the column that is still empty.
  void Fill(int column, const std::string& sign, Style style);

  // Each row from the left, as long as there is something.
  std::vector<std::vector<Span>> Rows() const;

 private:
  struct Cell {
    std::uint8_t dots = 0;
    std::string sign;  // empty: the dots
    Style style = Style::kPlain;
  };

  Cell* CellAt(int column, int row);
  std::string TextOf(const Cell& cell) const;

  const int columns_;
  const int rows_;
  const Glyphs glyphs_;
  const int dots_across_;
  const int dots_down_;
  std::vector<Cell> cells_;  // row by row
};

}  // namespace mantissa::cli
