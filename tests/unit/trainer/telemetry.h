// What an agent makes of the telemetry it was sent.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "mantissa/v1/telemetry.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"

namespace mantissa::trainer {

inline std::vector<v1::Segment> SegmentsOf(const std::vector<v1::TrainerReport>& reports) {
  std::vector<v1::Segment> segments;
  for (const v1::TrainerReport& report : reports) {
    for (const v1::Segment& segment : report.telemetry().segments()) segments.push_back(segment);
  }
  return segments;
}

// Every attempt sequence from 1 to `last` once and in order, a gap's included.
inline void ExpectContiguous(const std::vector<v1::Segment>& segments, std::int64_t last) {
  std::int64_t next = 1;
  for (const v1::Segment& segment : segments) {
    EXPECT_EQ(segment.first_attempt_sequence(), next);
    next = segment.has_gap() ? segment.gap().to() + 1 : segment.first_attempt_sequence() + segment.count();
    if (segment.has_gap()) {
      EXPECT_EQ(segment.gap().from(), segment.first_attempt_sequence());
    }
  }
  EXPECT_EQ(next, last + 1);
}

inline std::vector<v1::JobEvent> EventsIn(const std::vector<v1::Segment>& segments) {
  std::vector<v1::JobEvent> events;
  for (const v1::Segment& segment : segments) {
    if (segment.has_event()) events.push_back(segment.event());
  }
  return events;
}

inline std::vector<std::string> ReasonsOf(const std::vector<v1::JobEvent>& events) {
  std::vector<std::string> reasons;
  for (const v1::JobEvent& event : events) reasons.push_back(event.reason());
  return reasons;
}

// Null when it is not there.
inline const v1::Column* ColumnOf(const v1::RecordColumns& records, v1::Column::Standard id) {
  for (const v1::Column& column : records.columns()) {
    if (column.standard() == id) return &column;
  }
  return nullptr;
}

inline std::vector<std::int64_t> IntegersIn(const v1::RecordColumns& records, v1::Column::Standard id) {
  const v1::Column* column = ColumnOf(records, id);
  if (column == nullptr) return {};
  return {column->integers().values().begin(), column->integers().values().end()};
}

inline std::vector<double> DoublesIn(const v1::RecordColumns& records, v1::Column::Standard id) {
  const v1::Column* column = ColumnOf(records, id);
  if (column == nullptr) return {};
  return {column->doubles().values().begin(), column->doubles().values().end()};
}

// Of all segments with records.
inline std::vector<std::int64_t> IntegersIn(const std::vector<v1::Segment>& segments, v1::Column::Standard id) {
  std::vector<std::int64_t> all;
  for (const v1::Segment& segment : segments) {
    const std::vector<std::int64_t> values = IntegersIn(segment.records(), id);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Every value of every column that follows from the job alone, by column: not time, rate and memory.
inline std::map<std::string, std::string> RecordBits(const std::vector<v1::Segment>& segments) {
  std::map<std::string, std::string> bits;
  for (const v1::Segment& segment : segments) {
    for (const v1::Column& column : segment.records().columns()) {
      switch (column.standard()) {
        case v1::Column::TIME_UNIX_NANOS:
        case v1::Column::ITERATION_SECONDS:
        case v1::Column::SAMPLES_PER_SECOND:
        case v1::Column::MEMORY_BYTES:
        case v1::Column::PEAK_MEMORY_BYTES:
          continue;
        default:
          break;
      }
      std::string& text = bits[v1::Column::Standard_Name(column.standard())];
      for (const std::int64_t value : column.integers().values()) absl::StrAppend(&text, value, " ");
      for (const bool value : column.bools().values()) absl::StrAppend(&text, value, " ");
      for (const double value : column.doubles().values()) {
        absl::StrAppend(&text, absl::Hex(std::bit_cast<std::uint64_t>(value)), " ");
      }
    }
  }
  return bits;
}

}  // namespace mantissa::trainer
