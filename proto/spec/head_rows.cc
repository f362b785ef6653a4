#include "proto/spec/head_rows.h"

#include <algorithm>

namespace mantissa::spec {
namespace {

constexpr std::int64_t kRowsOfATile = 128;  // of a GPU's products

}  // namespace

std::int64_t RowsAtOnce(std::int64_t rows, std::int64_t row_bytes, std::int64_t most_bytes) {
  const std::int64_t most_rows = std::max<std::int64_t>(1, most_bytes / std::max<std::int64_t>(1, row_bytes));
  if (rows <= most_rows) return rows;
  const std::int64_t pieces = (rows - 1) / most_rows + 1;
  const std::int64_t even = (rows - 1) / pieces + 1;
  return std::min(rows, ((even - 1) / kRowsOfATile + 1) * kRowsOfATile);
}

}  // namespace mantissa::spec
