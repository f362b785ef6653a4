#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "server/store/packed_bytes.h"
#include "server/store/telemetry_chunk_layout.h"

namespace mantissa::server {
namespace {

using namespace chunk;

constexpr int32_t kSegmentRows = 256;

void TakeValues(const Part& part, ByteReader values, uint64_t count, ChunkColumn& column, ByteReader& reader) {
  const auto coding = static_cast<Coding>(values.Byte());
  const ChunkColumn* base = nullptr;
  if (coding == Coding::kRatio || coding == Coding::kFollows) {
    const uint64_t at = values.Varint();
    if (at >= part.columns.size() || part.columns[at].type != Type::kDoubles ||
        part.columns[at].numbers.size() != count) {
      return reader.Fail();
    }
    base = &part.columns[at];
  }
  column.numbers = TakeNumbers(count, values);
  std::vector<uint64_t>& numbers = column.numbers;
  if (!values.ok() || !values.at_end()) return reader.Fail();
  switch (coding) {
    case Coding::kNumbers:
      return;
    case Coding::kNanos:
      for (uint64_t& number : numbers) number = Bits(static_cast<double>(UnZigZag(number)) / kNanosASecond);
      return;
    case Coding::kRatio:
      for (size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = Bits(static_cast<double>(UnZigZag(numbers[i])) / AsDouble(base->numbers[i]));
      }
      return;
    case Coding::kFollows:
      for (size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = static_cast<uint64_t>(UnZigZag(numbers[i]));
        if (i > 0) numbers[i] += numbers[i - 1] + NanosOf(base->numbers[i]);
      }
      return;
  }
  reader.Fail();
}

void TakeColumn(Part& part, ByteReader& reader) {
  ChunkColumn column;
  if (reader.Byte() != 0) {
    column.quantity.set_name(std::string(reader.Text()));
  } else {
    column.quantity.set_standard(static_cast<v1::Column::Standard>(UnZigZag(reader.Varint())));
  }
  column.quantity.set_statistic(static_cast<v1::Column::Statistic>(UnZigZag(reader.Varint())));
  const uint8_t type = reader.Byte();
  if (type >= static_cast<uint8_t>(Type::kCount)) return reader.Fail();
  column.type = static_cast<Type>(type);
  column.present.assign(part.rows, true);
  uint64_t count = static_cast<uint64_t>(part.rows);
  if (reader.Byte() == 0) {
    const std::string_view bits = reader.Bytes((part.rows + 7) / 8);
    if (!reader.ok()) return;
    count = 0;
    for (int32_t row = 0; row < part.rows; ++row) {
      column.present[row] = (static_cast<uint8_t>(bits[row / 8]) >> (row % 8) & 1) != 0;
      count += column.present[row] ? 1 : 0;
    }
  }
  TakeValues(part, ByteReader(reader.Text()), count, column, reader);
  part.columns.push_back(std::move(column));
}

// Of at most `most_rows`.
Part TakePart(int64_t most_rows, ByteReader& reader) {
  Part part;
  part.attempt = static_cast<int32_t>(UnZigZag(reader.Varint()));
  const uint64_t runs = reader.Count(kChunkSpan);
  for (uint64_t i = 0; i < runs && reader.ok(); ++i) {
    Run run;
    run.first_sequence = static_cast<int64_t>(reader.Count(std::numeric_limits<int64_t>::max() - kChunkSpan));
    run.first_attempt_sequence = UnZigZag(reader.Varint());
    run.rows = static_cast<int32_t>(reader.Count(static_cast<uint64_t>(most_rows - part.rows)));
    const bool numbered =
        run.first_attempt_sequence >= 0 && run.first_attempt_sequence <= std::numeric_limits<int64_t>::max() - run.rows;
    if (!numbered) reader.Fail();
    part.rows += run.rows;
    part.runs.push_back(run);
  }
  const uint64_t columns = reader.Count(kMostColumns);
  for (uint64_t i = 0; i < columns && reader.ok(); ++i) TakeColumn(part, reader);
  return part;
}

// Values `from` to `to` of a column that has that many.
void CopyValues(const ChunkColumn& column, size_t from, size_t to, v1::Column& into) {
  const int count = static_cast<int>(to - from);
  const auto copy_all = [&](auto* values) {
    values->Resize(count, 0);
    std::memcpy(values->mutable_data(), column.numbers.data() + from, sizeof(uint64_t) * (to - from));
  };
  switch (column.type) {
    case Type::kDoubles:
      return copy_all(into.mutable_doubles()->mutable_values());
    case Type::kIntegers:
      return copy_all(into.mutable_integers()->mutable_values());
    case Type::kFloats:
      for (size_t i = from; i < to; ++i) {
        into.mutable_floats()->add_values(std::bit_cast<float>(static_cast<uint32_t>(column.numbers[i])));
      }
      return;
    case Type::kBools:
      for (size_t i = from; i < to; ++i) into.mutable_bools()->add_values(column.numbers[i] != 0);
      return;
    case Type::kCount:
      return;
  }
}

void AppendPart(const Part& part, std::vector<v1::Segment>& segments) {
  std::vector<size_t> value(part.columns.size(), 0);  // the next of each column
  int32_t row = 0;
  for (const Run& run : part.runs) {
    for (int32_t done = 0; done < run.rows;) {
      const int32_t count = std::min(kSegmentRows, run.rows - done);
      v1::Segment& segment = segments.emplace_back();
      segment.set_attempt(part.attempt);
      segment.set_first_attempt_sequence(run.first_attempt_sequence + done);
      segment.set_first_sequence(run.first_sequence + done);
      segment.set_count(count);
      v1::RecordColumns& records = *segment.mutable_records();
      for (size_t i = 0; i < part.columns.size(); ++i) {
        const ChunkColumn& column = part.columns[i];
        const auto present = column.present.begin() + row;
        const size_t from = value[i];
        const size_t to = from + (column.full() ? static_cast<size_t>(count)
                                                : static_cast<size_t>(std::count(present, present + count, true)));
        value[i] = to;
        if (from == to) continue;
        v1::Column& into = *records.add_columns();
        into = column.quantity;
        CopyValues(column, from, to, into);
        if (to - from == static_cast<size_t>(count)) continue;
        std::string bits((count + 7) / 8, '\0');
        for (int32_t j = 0; j < count; ++j) {
          if (present[j]) bits[j / 8] |= static_cast<char>(1 << (j % 8));
        }
        into.set_present(std::move(bits));
      }
      done += count;
      row += count;
    }
  }
}

absl::Status Damaged() { return absl::DataLossError("store: a chunk of telemetry is damaged"); }

}  // namespace

absl::Status DecodeTelemetryChunk(std::string_view chunk, std::vector<v1::Segment>& segments) {
  std::string body;
  if (chunk.size() < 2 || chunk[0] != '\0') return Damaged();
  if (chunk[1] != static_cast<char>(ChunkContent::kWhole) && !IsThinnedChunk(chunk)) {
    return absl::DataLossError("store: a chunk of telemetry is of a newer version than this program; update it");
  }
  if (!Decompress(chunk.substr(2), kMostBytes, body)) return Damaged();
  ByteReader reader(body);
  std::vector<v1::Segment> decoded;
  int64_t rows_left = kChunkSpan;  // so that a few bytes cannot claim to be gigabytes
  for (int64_t parts = 0; reader.ok() && !reader.at_end() && parts < kChunkSpan; ++parts) {
    switch (static_cast<PartKind>(reader.Byte())) {
      case PartKind::kRecords: {
        const Part part = TakePart(rows_left, reader);
        rows_left -= part.rows;
        if (reader.ok()) AppendPart(part, decoded);
        break;
      }
      case PartKind::kMessage: {
        const std::string_view text = reader.Text();
        if (!reader.ok() || !decoded.emplace_back().ParseFromArray(text.data(), static_cast<int>(text.size()))) {
          return Damaged();
        }
        break;
      }
      default:
        return Damaged();
    }
  }
  if (!reader.ok() || !reader.at_end()) return Damaged();
  segments.insert(segments.end(), std::make_move_iterator(decoded.begin()), std::make_move_iterator(decoded.end()));
  return absl::OkStatus();
}

}  // namespace mantissa::server
