// Private to telemetry_chunk_*.cc: what a chunk is made of (Note [Telemetry chunks]).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server::chunk {

inline constexpr uint64_t kMostBytes = uint64_t{64} << 20;
inline constexpr uint64_t kMostColumns = 256;

enum class PartKind : uint8_t { kRecords, kMessage };

// How the numbers of a column are to be read. Bases are columns of the same part that stand before it.
enum class Coding : uint8_t {
  kNumbers,  // integers, bools, or the bits of floats and doubles
  kNanos,    // doubles, each n / 1e9
  kRatio,    // doubles, each n / base
  kFollows,  // integers, each the one before it + round(1e9 * base) + n
};

enum class Type : uint8_t { kFloats, kDoubles, kIntegers, kBools, kCount };

inline constexpr double kNanosASecond = 1e9;
// Beyond it not every integer is a double.
inline constexpr double kMostExact = 9e15;

// Rows with consecutive sequences.
struct Run {
  int64_t first_sequence = 0;
  int64_t first_attempt_sequence = 0;
  int32_t rows = 0;
};

struct ChunkColumn {
  v1::Column quantity;  // without values
  Type type = Type::kDoubles;
  std::vector<bool> present;      // one a row
  std::vector<uint64_t> numbers;  // of the rows that are present
  bool full() const { return numbers.size() == present.size(); }
};

// Records of one attempt.
struct Part {
  int32_t attempt = 0;
  int32_t rows = 0;
  std::vector<Run> runs;
  std::vector<ChunkColumn> columns;
};

inline double AsDouble(uint64_t number) { return std::bit_cast<double>(number); }
inline uint64_t Bits(double number) { return std::bit_cast<uint64_t>(number); }

// What a number of seconds, as bits, foretells; any number will do where it is not to be used.
inline uint64_t NanosOf(uint64_t seconds) {
  const double nanos = AsDouble(seconds) * kNanosASecond;
  return std::abs(nanos) < kMostExact ? static_cast<uint64_t>(std::llround(nanos)) : 0;
}

}  // namespace mantissa::server::chunk
