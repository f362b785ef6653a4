// Columns of text for people.
#pragma once

#include <string>
#include <vector>

namespace mantissa::cli {

// Rows under headings, two spaces between columns. The last column is not filled up; with a `width` above 0 it is cut
// so that no line is longer. Not thread-safe.
class Table {
 public:
  // A heading that begins with `>` makes its column flush right.
  explicit Table(std::vector<std::string> headings);

  // One cell a heading. Cells are made fit for a terminal.
  void Add(std::vector<std::string> cells);

  bool empty() const { return rows_.empty(); }

  std::string Text(int width) const;

 private:
  std::vector<std::string> headings_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace mantissa::cli
