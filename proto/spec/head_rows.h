// How much of a language model's logits is in memory at once: the trainer runs the model's last layer and its loss over
// some rows at a time, and an estimate of memory counts on that.
#pragma once

#include <cstdint>

namespace mantissa::spec {

// More rows at a time would take more memory, fewer leave processors of a large GPU idle: of GPT-2's 32 x 1024 rows the
// product that gives the features' gradient has, in three pieces, two tiles of 128 x 256 for each of 132 processors.
inline constexpr std::int64_t kMostLogitsBytes = std::int64_t{5} << 28;

// Rows of logits at a time, `row_bytes` each: all, or pieces of one size but for the last, a multiple of 128 rows, of
// about `most_bytes` where that are so many.
std::int64_t RowsAtOnce(std::int64_t rows, std::int64_t row_bytes, std::int64_t most_bytes = kMostLogitsBytes);

}  // namespace mantissa::spec
