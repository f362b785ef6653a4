// Columns of coloured text that fit a width.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {

struct Cell {
  Cell(std::string text = "", Style style = Style::kPlain) : span{std::move(text), style} {}
  Cell(const char* text) : Cell(std::string(text)) {}
  static Cell BarOf(double ratio) {
    Cell cell;
    cell.bar = ratio;
    return cell;
  }

  Span span;                  // as it came from the server: it is made fit for a terminal here
  std::optional<double> bar;  // how much is done; takes the room that is left
};

struct Column {
  std::string heading;
  int rank = 0;  // where there is no room, the column with the highest goes first, of several the last; 0 never
  bool right = false;
  int least = 0;  // it may be cut to this many columns before another has to go; 0: it is not cut
};

// Rows under headings, two spaces between columns. A column that may go and has nothing in any row goes. Not
// thread-safe.
class StyledTable {
 public:
  explicit StyledTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell a column.
  void Add(std::vector<Cell> cells);

  std::size_t rows() const { return rows_.size(); }

  // Headings, then rows, of which at most `most` lines: where there are more, the last line says how many.
  std::vector<std::string> Lines(const ViewOptions& options, std::size_t most) const;

 private:
  struct Fitted {
    std::vector<std::size_t> columns;  // that stay
    std::vector<int> widths;           // of these
  };
  Fitted Fit(const ViewOptions& options) const;
  std::string Line(const Fitted& fitted, const std::vector<Cell>& cells, const ViewOptions& options) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace mantissa::cli
