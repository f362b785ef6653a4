#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "proto/spec/column_values.h"
#include "server/store/packed_bytes.h"
#include "server/store/telemetry_chunk_layout.h"

namespace mantissa::server {
namespace {

using namespace chunk;
using spec::EmptyColumn;
using spec::IsPresent;
using spec::SameQuantity;
using spec::ValueCount;
using spec::ValuesBefore;

std::optional<Type> TypeOf(const v1::Column& column) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return Type::kFloats;
    case v1::Column::kDoubles:
      return Type::kDoubles;
    case v1::Column::kIntegers:
      return Type::kIntegers;
    case v1::Column::kBools:
      return Type::kBools;
    case v1::Column::VALUES_NOT_SET:
      return std::nullopt;
  }
  return std::nullopt;
}

bool HasUnknownFields(const google::protobuf::Message& message) {
  return !message.GetReflection()->GetUnknownFields(message).empty();
}

// Whether a part can hold the column and say it again.
bool IsPlain(const v1::Column& column, int32_t rows) {
  const size_t bitmap = static_cast<size_t>((rows + 7) / 8);
  if (!TypeOf(column) || column.id_case() == v1::Column::ID_NOT_SET || HasUnknownFields(column)) return false;
  if (column.has_floats() && HasUnknownFields(column.floats())) return false;
  if (column.has_doubles() && HasUnknownFields(column.doubles())) return false;
  if (column.has_integers() && HasUnknownFields(column.integers())) return false;
  if (column.has_bools() && HasUnknownFields(column.bools())) return false;
  return (column.present().empty() || column.present().size() == bitmap) &&
         ValueCount(column) == ValuesBefore(column, rows);
}

bool IsPlain(const v1::Segment& segment) {
  if (!segment.has_records() || segment.through_sequence() != 0 || segment.count() < 1 || HasUnknownFields(segment) ||
      HasUnknownFields(segment.records()) || segment.records().columns_size() == 0) {
    return false;
  }
  const auto& columns = segment.records().columns();
  for (auto column = columns.begin(); column != columns.end(); ++column) {
    if (!IsPlain(*column, segment.count())) return false;
    if (std::any_of(columns.begin(), column, [&](const v1::Column& other) { return SameQuantity(other, *column); })) {
      return false;
    }
  }
  return true;
}

uint64_t NumberOf(const v1::Column& column, int32_t value) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return std::bit_cast<uint32_t>(column.floats().values(value));
    case v1::Column::kDoubles:
      return Bits(column.doubles().values(value));
    case v1::Column::kIntegers:
      return static_cast<uint64_t>(column.integers().values(value));
    case v1::Column::kBools:
      return column.bools().values(value) ? 1 : 0;
    case v1::Column::VALUES_NOT_SET:
      return 0;
  }
  return 0;
}

ChunkColumn& ColumnFor(const v1::Column& column, Part& part) {
  const Type type = *TypeOf(column);
  for (ChunkColumn& known : part.columns) {
    if (known.type == type && SameQuantity(known.quantity, column)) return known;
  }
  ChunkColumn& added = part.columns.emplace_back();
  added.quantity = EmptyColumn(column);
  added.type = type;
  return added;
}

void AddTo(Part& part, const v1::Segment& segment) {
  part.attempt = segment.attempt();
  Run* const run = part.runs.empty() ? nullptr : &part.runs.back();
  if (run != nullptr && run->first_sequence + run->rows == segment.first_sequence() &&
      run->first_attempt_sequence + run->rows == segment.first_attempt_sequence()) {
    run->rows += segment.count();
  } else {
    part.runs.push_back({segment.first_sequence(), segment.first_attempt_sequence(), segment.count()});
  }
  for (const v1::Column& column : segment.records().columns()) {
    ChunkColumn& into = ColumnFor(column, part);
    into.present.resize(part.rows, false);
    for (int32_t row = 0; row < segment.count(); ++row) into.present.push_back(IsPresent(column, row));
    const int32_t values = ValueCount(column);
    for (int32_t value = 0; value < values; ++value) into.numbers.push_back(NumberOf(column, value));
  }
  part.rows += segment.count();
  for (ChunkColumn& column : part.columns) column.present.resize(part.rows, false);
}

// The integers that, divided by `by`, give each of `column` to the bit; nothing where they don't.
template <typename Divisor>
std::optional<std::vector<uint64_t>> Quotients(const ChunkColumn& column, Divisor by) {
  std::vector<uint64_t> quotients;
  for (size_t i = 0; i < column.numbers.size(); ++i) {
    const double value = AsDouble(column.numbers[i]), divisor = by(i);
    const double product = value * divisor;
    if (!(std::abs(product) < kMostExact)) return std::nullopt;
    const auto quotient = static_cast<int64_t>(std::llround(product));
    if (Bits(static_cast<double>(quotient) / divisor) != column.numbers[i]) return std::nullopt;
    quotients.push_back(ZigZag(quotient));
  }
  return quotients;
}

bool Is(const ChunkColumn& column, v1::Column::Standard standard, Type type) {
  return column.type == type && column.quantity.id_case() == v1::Column::kStandard &&
         column.quantity.standard() == standard && column.quantity.statistic() == v1::Column::STATISTIC_UNSPECIFIED &&
         column.full();
}

void PutCoding(Coding coding, std::optional<size_t> base, const std::vector<uint64_t>& numbers, std::string& bytes) {
  bytes.push_back(static_cast<char>(coding));
  if (base) PutVarint(*base, bytes);
  PutNumbers(numbers, bytes);
}

void PutValues(const Part& part, size_t at, std::optional<size_t> seconds, std::string& bytes) {
  const ChunkColumn& column = part.columns[at];
  if (seconds && Is(column, v1::Column::SAMPLES_PER_SECOND, Type::kDoubles)) {
    const std::vector<uint64_t>& by = part.columns[*seconds].numbers;
    if (const auto samples = Quotients(column, [&](size_t i) { return AsDouble(by[i]); })) {
      return PutCoding(Coding::kRatio, seconds, *samples, bytes);
    }
  }
  if (seconds && Is(column, v1::Column::TIME_UNIX_NANOS, Type::kIntegers)) {
    std::vector<uint64_t> left = column.numbers;
    for (size_t i = left.size(); i-- > 1;) left[i] -= left[i - 1] + NanosOf(part.columns[*seconds].numbers[i]);
    for (uint64_t& number : left) number = ZigZag(static_cast<int64_t>(number));
    return PutCoding(Coding::kFollows, seconds, left, bytes);
  }
  if (column.type == Type::kDoubles) {
    if (const auto nanos = Quotients(column, [](size_t) { return kNanosASecond; })) {
      return PutCoding(Coding::kNanos, std::nullopt, *nanos, bytes);
    }
  }
  PutCoding(Coding::kNumbers, std::nullopt, column.numbers, bytes);
}

void PutPart(Part part, std::string& bytes) {
  // First, because others are foretold by it.
  std::stable_partition(part.columns.begin(), part.columns.end(), [](const ChunkColumn& column) {
    return Is(column, v1::Column::ITERATION_SECONDS, Type::kDoubles);
  });
  std::optional<size_t> seconds;
  if (Is(part.columns.front(), v1::Column::ITERATION_SECONDS, Type::kDoubles)) seconds = 0;

  bytes.push_back(static_cast<char>(PartKind::kRecords));
  PutVarint(ZigZag(part.attempt), bytes);
  PutVarint(part.runs.size(), bytes);
  for (const Run& run : part.runs) {
    PutVarint(static_cast<uint64_t>(run.first_sequence), bytes);
    PutVarint(ZigZag(run.first_attempt_sequence), bytes);
    PutVarint(static_cast<uint64_t>(run.rows), bytes);
  }
  PutVarint(part.columns.size(), bytes);
  for (size_t i = 0; i < part.columns.size(); ++i) {
    const ChunkColumn& column = part.columns[i];
    const bool named = column.quantity.id_case() == v1::Column::kName;
    bytes.push_back(static_cast<char>(named));
    if (named) {
      PutText(column.quantity.name(), bytes);
    } else {
      PutVarint(ZigZag(column.quantity.standard()), bytes);
    }
    PutVarint(ZigZag(column.quantity.statistic()), bytes);
    bytes.push_back(static_cast<char>(column.type));
    bytes.push_back(static_cast<char>(column.full()));
    if (!column.full()) {
      std::string bits((part.rows + 7) / 8, '\0');
      for (int32_t row = 0; row < part.rows; ++row) {
        if (column.present[row]) bits[row / 8] |= static_cast<char>(1 << (row % 8));
      }
      bytes += bits;
    }
    // With its length, so that a reader may pass it over.
    std::string values;
    PutValues(part, i, seconds, values);
    PutText(values, bytes);
  }
}

}  // namespace

std::string EncodeTelemetryChunk(const std::vector<v1::Segment>& segments, ChunkContent content) {
  std::string body;
  std::optional<Part> part;
  const auto put_part = [&] {
    if (part) PutPart(*std::exchange(part, std::nullopt), body);
  };
  for (const v1::Segment& segment : segments) {
    if (!IsPlain(segment)) {
      put_part();
      body.push_back(static_cast<char>(PartKind::kMessage));
      PutText(segment.SerializeAsString(), body);
      continue;
    }
    const bool fits = part && part->attempt == segment.attempt() &&
                      part->columns.size() + segment.records().columns_size() <= kMostColumns &&
                      part->rows + segment.count() <= kChunkSpan;
    if (!fits) put_part();
    if (!part) part.emplace();
    AddTo(*part, segment);
  }
  put_part();
  std::string chunk = {'\0', static_cast<char>(content)};
  return chunk += Compress(body);
}

}  // namespace mantissa::server
