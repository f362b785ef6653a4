// What goes into a chunk comes out of it, and what is no chunk is told so.
#include "server/store/telemetry_chunk.h"

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "proto/spec/column_values.h"
#include "server/core/telemetry_segment.h"
#include "server/store/packed_bytes.h"

namespace mantissa::server {
namespace {

using spec::EmptyColumn;
using spec::IsPresent;
using spec::ValueCount;
using spec::ValuesBefore;
using testing::SizeIs;

// Every value by its sequence, attempt and column, to the bit.
std::map<std::string, std::string> Facts(const std::vector<v1::Segment>& segments) {
  std::map<std::string, std::string> facts;
  for (const v1::Segment& segment : segments) {
    const std::string at = "attempt " + std::to_string(segment.attempt()) + " ";
    if (!segment.has_records()) {
      facts[at + std::to_string(segment.first_sequence())] = segment.SerializeAsString();
      continue;
    }
    for (int32_t row = 0; row < segment.count(); ++row) {
      const std::string record = at + std::to_string(segment.first_attempt_sequence() + row) + " as " +
                                 std::to_string(segment.first_sequence() + row) + " ";
      facts[record] = "";
      for (const v1::Column& column : segment.records().columns()) {
        if (!IsPresent(column, row)) continue;
        const int32_t value = ValuesBefore(column, row);
        std::string& fact = facts[record + EmptyColumn(column).SerializeAsString()];
        if (column.has_doubles()) fact = "d" + std::to_string(std::bit_cast<uint64_t>(column.doubles().values(value)));
        if (column.has_floats()) fact = "f" + std::to_string(std::bit_cast<uint32_t>(column.floats().values(value)));
        if (column.has_integers()) fact = "i" + std::to_string(column.integers().values(value));
        if (column.has_bools()) fact = "b" + std::to_string(column.bools().values(value));
      }
    }
  }
  return facts;
}

TEST(TelemetryChunk, SaysInItsFirstBytesWhetherItIsThinned) {
  v1::Segment segment;
  segment.set_attempt(1);
  segment.set_first_sequence(1);
  segment.set_count(1);
  segment.set_through_sequence(9);
  segment.mutable_records();
  const std::string whole = EncodeTelemetryChunk({segment}),
                    thinned = EncodeTelemetryChunk({segment}, ChunkContent::kThinned);
  EXPECT_TRUE(IsTelemetryChunk(whole.substr(0, 2)) && IsTelemetryChunk(thinned.substr(0, 2)));
  EXPECT_FALSE(IsThinnedChunk(whole.substr(0, 2)));
  EXPECT_TRUE(IsThinnedChunk(thinned.substr(0, 2)));
  std::vector<v1::Segment> decoded;
  ASSERT_TRUE(DecodeTelemetryChunk(thinned, decoded).ok());
  ASSERT_THAT(decoded, SizeIs(1));
  EXPECT_EQ(decoded[0].SerializeAsString(), segment.SerializeAsString());
}

std::vector<v1::Segment> RoundTrip(const std::vector<v1::Segment>& segments) {
  const std::string chunk = EncodeTelemetryChunk(segments);
  EXPECT_TRUE(IsTelemetryChunk(chunk));
  std::vector<v1::Segment> decoded;
  const absl::Status status = DecodeTelemetryChunk(chunk, decoded);
  EXPECT_TRUE(status.ok()) << status;
  return decoded;
}

v1::Segment Records(int64_t first, int32_t rows, int32_t attempt = 1) {
  v1::Segment segment;
  segment.set_attempt(attempt);
  segment.set_first_attempt_sequence(first);
  segment.set_first_sequence(first);
  segment.set_count(rows);
  return segment;
}

v1::Column& Add(v1::Segment& segment, v1::Column::Standard standard) {
  v1::Column& column = *segment.mutable_records()->add_columns();
  column.set_standard(standard);
  return column;
}

// Rows as a run makes them.
v1::Segment Plausible(int64_t first, int32_t rows, std::mt19937& random) {
  v1::Segment segment = Records(first, rows);
  v1::Column &iteration = Add(segment, v1::Column::ITERATION), &time = Add(segment, v1::Column::TIME_UNIX_NANOS),
             &loss = Add(segment, v1::Column::LOSS), &applied = Add(segment, v1::Column::APPLIED),
             &seconds = Add(segment, v1::Column::ITERATION_SECONDS),
             &samples = Add(segment, v1::Column::SAMPLES_PER_SECOND), &rate = Add(segment, v1::Column::LEARNING_RATE);
  for (int32_t row = 0; row < rows; ++row) {
    const int64_t nanos = 1'000'000 + static_cast<int64_t>(random() % 50'000);
    const double took = static_cast<double>(nanos) / 1e9;
    iteration.mutable_integers()->add_values(first + row);
    time.mutable_integers()->add_values(1'700'000'000'000'000'000 + (first + row) * 1'050'000 +
                                        static_cast<int64_t>(random() % 5'000));
    loss.mutable_doubles()->add_values(static_cast<float>(std::exp(-1e-4 * first) + random() % 1'000 * 1e-4));
    applied.mutable_bools()->add_values(random() % 100 != 0);
    seconds.mutable_doubles()->add_values(took);
    samples.mutable_doubles()->add_values(64 / took);
    rate.mutable_doubles()->add_values(1e-3 * 0.5 * (1 + std::cos(1e-5 * static_cast<double>(first + row))));
  }
  return segment;
}

TEST(TelemetryChunk, SegmentsOfARunComeBackAsOne) {
  std::mt19937 random(1);
  std::vector<v1::Segment> segments;
  for (int i = 0; i < 20; ++i) segments.push_back(Plausible(1 + 10 * i, 10, random));
  const auto decoded = RoundTrip(segments);
  ASSERT_THAT(decoded, SizeIs(1));
  EXPECT_EQ(decoded[0].count(), 200);
  EXPECT_EQ(Facts(decoded), Facts(segments));
}

TEST(TelemetryChunk, LongRunsAreCutIntoSegmentsThatAreSoonSent) {
  std::mt19937 random(2);
  const std::vector<v1::Segment> segments = {Plausible(1, 4'000, random)};
  const auto decoded = RoundTrip(segments);
  EXPECT_THAT(decoded, SizeIs(16));
  for (const v1::Segment& segment : decoded) EXPECT_LE(segment.count(), 256);
  EXPECT_EQ(Facts(decoded), Facts(segments));
  EXPECT_LT(EncodeTelemetryChunk(segments).size(), 4'000 * 12u);
}

TEST(TelemetryChunk, NumbersComeBackToTheBit) {
  v1::Segment segment = Records(7, 9);
  v1::Column &doubles = Add(segment, v1::Column::LOSS), &seconds = Add(segment, v1::Column::ITERATION_SECONDS),
             &samples = Add(segment, v1::Column::SAMPLES_PER_SECOND), &time = Add(segment, v1::Column::TIME_UNIX_NANOS);
  for (const uint64_t bits :
       {uint64_t{0x7ff8000000000000}, uint64_t{0x7ff8000000000001}, uint64_t{0xfff4000000abcdef},
        uint64_t{0x7ff0000000000000}, uint64_t{0xfff0000000000000}, uint64_t{0x8000000000000000},
        uint64_t{0x0000000000000001}, uint64_t{0x3ff0000000000000}, uint64_t{0xffffffffffffffff}}) {
    const double value = std::bit_cast<double>(bits);
    doubles.mutable_doubles()->add_values(value);
    seconds.mutable_doubles()->add_values(value);
    samples.mutable_doubles()->add_values(64 / value);
    time.mutable_integers()->add_values(static_cast<int64_t>(bits));
  }
  v1::Column& floats = *segment.mutable_records()->add_columns();
  floats.set_name("user/x");
  for (const uint32_t bits :
       {0x7fc00000u, 0x7fc00001u, 0xffc12345u, 0x7f800000u, 0x80000000u, 1u, 0x3f800000u, 0u, 0xffffffffu}) {
    floats.mutable_floats()->add_values(std::bit_cast<float>(bits));
  }
  v1::Column& integers = Add(segment, static_cast<v1::Column::Standard>(4'711));
  for (const int64_t value : {INT64_MIN, INT64_MAX, int64_t{0}, int64_t{-1}, int64_t{1}, INT64_MIN, INT64_MIN + 1,
                              INT64_MAX - 1, int64_t{42}}) {
    integers.mutable_integers()->add_values(value);
  }
  EXPECT_EQ(Facts(RoundTrip({segment})), Facts({segment}));
}

TEST(TelemetryChunk, WhatARowLacksItLacksAfterwards) {
  v1::Segment with = Records(1, 10), without = Records(11, 3), all = Records(14, 2);
  v1::Column& some = Add(with, v1::Column::GRAD_NORM);
  some.set_present(std::string("\xaa\x02", 2));
  for (int i = 0; i < 5; ++i) some.mutable_doubles()->add_values(i);
  Add(with, v1::Column::STEP).mutable_integers()->mutable_values()->Resize(10, 5);
  Add(without, v1::Column::STEP).mutable_integers()->mutable_values()->Resize(3, 6);
  Add(all, v1::Column::GRAD_NORM).mutable_doubles()->mutable_values()->Resize(2, 0.5);
  EXPECT_EQ(Facts(RoundTrip({with, without, all})), Facts({with, without, all}));
}

TEST(TelemetryChunk, OtherEntriesMayLieBetweenAndAttemptsFollow) {
  std::mt19937 random(3);
  v1::Segment gap;
  gap.set_attempt(1);
  gap.set_first_attempt_sequence(20);
  gap.set_first_sequence(21);
  gap.set_count(1);
  gap.mutable_gap()->set_to(25);
  v1::Segment late = Plausible(41, 4, random);
  late.set_attempt(2);
  const std::vector<v1::Segment> segments = {Plausible(1, 5, random), Plausible(8, 5, random), gap,
                                             Plausible(30, 6, random), late};
  EXPECT_EQ(Facts(RoundTrip(segments)), Facts(segments));
}

TEST(TelemetryChunk, WhatItDoesNotKnowIsKeptAsItWas) {
  v1::Segment newer = Records(1, 3);
  v1::Column& column = Add(newer, v1::Column::LOSS);
  ASSERT_TRUE(column.MergeFromString(std::string("\x9a\x06\x03xyz", 6)));  // a type of a later version: field 99
  v1::Segment thinned = Records(4, 2);
  Add(thinned, v1::Column::LOSS).mutable_doubles()->mutable_values()->Resize(2, 1.5);
  thinned.set_through_sequence(900);
  v1::Segment two_types = Records(901, 1);
  Add(two_types, v1::Column::LOSS).mutable_doubles()->add_values(1);
  Add(two_types, v1::Column::LOSS).mutable_floats()->add_values(2);
  v1::Segment bare = Records(902, 4);
  bare.mutable_records();
  const std::vector<v1::Segment> segments = {newer, thinned, two_types, bare};
  const auto decoded = RoundTrip(segments);
  ASSERT_THAT(decoded, SizeIs(4));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(decoded[i].SerializeAsString(), segments[i].SerializeAsString());
}

TEST(TelemetryChunk, AnyColumnsOfAnyRunComeBack) {
  for (uint32_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::vector<v1::Segment> segments;
    int64_t next = 1 + static_cast<int64_t>(random() % 100);
    for (int i = 0; i < 12; ++i) {
      if (random() % 3 == 0) next += static_cast<int64_t>(random() % 4);  // events
      v1::Segment segment = Records(next, 1 + static_cast<int32_t>(random() % 40), 1 + i / 7);
      next += segment.count();
      for (int kind = 0; kind < 6; ++kind) {
        if (random() % 5 == 0) continue;
        v1::Column& column = Add(segment, static_cast<v1::Column::Standard>(4 + kind));
        std::string present((segment.count() + 7) / 8, '\0');
        for (int row = 0; row < segment.count(); ++row) {
          if (kind % 2 == 1 && random() % 4 == 0) continue;
          present[row / 8] |= static_cast<char>(1 << (row % 8));
          const uint64_t bits = random() % 2 == 0 ? random() : random() % 1'000;
          if (kind == 0) column.mutable_integers()->add_values(static_cast<int64_t>(bits));
          if (kind == 1 || kind == 2) column.mutable_doubles()->add_values(std::bit_cast<double>(bits));
          if (kind == 3) column.mutable_bools()->add_values(bits % 2 != 0);
          if (kind > 3) column.mutable_floats()->add_values(std::bit_cast<float>(static_cast<uint32_t>(bits)));
        }
        if (column.values_case() == v1::Column::VALUES_NOT_SET) {
          segment.mutable_records()->mutable_columns()->RemoveLast();
        } else {
          column.set_present(present);
        }
      }
      segment.mutable_records();
      segments.push_back(std::move(segment));
    }
    EXPECT_EQ(Facts(RoundTrip(segments)), Facts(segments));
  }
}

// A cut, a flipped bit, another version: told, never taken for something else.
TEST(TelemetryChunk, ADamagedOneIsDataLoss) {
  std::mt19937 random(4);
  const std::string chunk = EncodeTelemetryChunk({Plausible(1, 50, random)});
  const auto code = [](const std::string& bytes) {
    std::vector<v1::Segment> segments;
    const absl::Status status = DecodeTelemetryChunk(bytes, segments);
    EXPECT_TRUE(status.ok() || segments.empty());
    return status.code();
  };
  EXPECT_EQ(code(chunk), absl::StatusCode::kOk);
  for (size_t length = 0; length < chunk.size(); ++length) {
    EXPECT_EQ(code(chunk.substr(0, length)), absl::StatusCode::kDataLoss) << length;
  }
  for (size_t bit = 0; bit < 8 * chunk.size(); ++bit) {
    std::string flipped = chunk;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    std::vector<v1::Segment> segments;
    const absl::Status status = DecodeTelemetryChunk(flipped, segments);
    // A few bits of a frame's header say nothing of its content.
    if (status.ok()) {
      EXPECT_EQ(Facts(segments), Facts({[&] {
                  std::mt19937 again(4);
                  return Plausible(1, 50, again);
                }()}))
          << bit;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << bit;
    }
  }
}

// What a damaged writer could have made, with a checksum that is right.
TEST(TelemetryChunk, ABodyThatDoesNotHoldTogetherIsDataLoss) {
  std::mt19937 random(5);
  const std::string chunk = EncodeTelemetryChunk({Plausible(1, 30, random)});
  std::string body;
  ASSERT_TRUE(Decompress(chunk.substr(2), 1 << 20, body));
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = body;
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      changed[random() % changed.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) changed.resize(random() % changed.size());
    std::vector<v1::Segment> segments;
    const absl::Status status = DecodeTelemetryChunk(std::string("\0\1", 2) + Compress(changed), segments);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    }
    // What passes can be read like anything else.
    for (const v1::Segment& segment : segments) {
      for (const v1::Column& column : segment.records().columns()) {
        EXPECT_EQ(ValueCount(column), ValuesBefore(column, segment.count()));
      }
    }
  }
}

// A fuzzer's find: the sequence of a later segment of them was counted past the end of what an integer holds.
TEST(TelemetryChunk, RowsNumberedPastWhatThereIsAreDataLoss) {
  std::mt19937 random(7);
  const auto code = [&](int64_t first_attempt_sequence, int count) {
    v1::Segment rows = Plausible(1, count, random);
    rows.set_first_attempt_sequence(first_attempt_sequence);
    std::vector<v1::Segment> segments;
    return DecodeTelemetryChunk(EncodeTelemetryChunk({rows}), segments).code();
  };
  const int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(code(0, 300), absl::StatusCode::kOk);
  EXPECT_EQ(code(most - 300, 300), absl::StatusCode::kOk);
  EXPECT_EQ(code(most - 299, 300), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(-1, 300), absl::StatusCode::kDataLoss);
}

TEST(PackedNumbers, AnySeriesComesBack) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint64_t> numbers(random() % 300);
    const int kind = round % 5;
    uint64_t last = random();
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (kind == 0) last = random();
      if (kind == 1) last += random() % 100;
      if (kind == 2) last = i * i * 3 + 17;
      if (kind == 3) last ^= random() % 256;
      numbers[i] = last;
    }
    std::string bytes;
    PutNumbers(numbers, bytes);
    ByteReader reader(bytes);
    EXPECT_EQ(TakeNumbers(numbers.size(), reader), numbers);
    EXPECT_TRUE(reader.ok());
    EXPECT_TRUE(reader.at_end());
    if (kind == 2 && numbers.size() > 100) {
      EXPECT_LT(bytes.size(), numbers.size()) << "a smooth course takes next to nothing";
    }
  }
}

}  // namespace
}  // namespace mantissa::server
