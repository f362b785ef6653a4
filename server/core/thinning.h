// Few rows that stand for many records.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::server {

// What `max_points` may be at most.
inline constexpr int32_t kMostPoints = 65'536;

struct ThinningPlan {
  int64_t records_per_row = 1;
  // So many rows more may come of rows that end early, at an event or a gap.
  int64_t extra_rows = 0;
  // Rows that may share a segment.
  int32_t segment_rows = 64;
  // Only these quantities; empty: all. What tells how to read a row is there in any case.
  std::vector<v1::Column::Standard> columns = {};
};

// Of `records` records about `max_points` rows. Nothing when they are to be sent as they are: there are no more than
// that, or max_points is 0.
std::optional<ThinningPlan> PlanThinning(int64_t records, int32_t max_points);

// Note [Thinned rows]
//
// A row stands for the next `records_per_row` records of one attempt: it is the last of them, and says how many they
// are, how many of them were skipped, and between which ends what one looks for in a curve lay (see RecordColumns).
// What has no number to be thinned by (a column whose type is not known here, a statistic of another quantity) is left
// out of it.
//
// Events and gaps are never thinned, and stand before a row whose last record came after them. A row ends early at one,
// so that what happened and what it did to the curve are not in one row, as long as that makes no more than a quarter
// more rows than were asked for; beyond that records from before and after an event share a row, so that a run with
// more events than points is thinned all the same. A row ends at the end of an attempt in any case: it is of one.
//
// Rows that were thinned before are taken for what they stand for.

// Segments in, fewer out, as soon as they are complete; what it holds meanwhile is one row and the events in it. Not
// thread-safe.
class Thinning {
 public:
  explicit Thinning(ThinningPlan plan);

  // The next of the job's segments, in order, numbered.
  void Add(const v1::Segment& segment);
  // No more comes: ends the row that is being gathered.
  void Finish();
  // What is complete, in order; it answers for every sequence through covered_through().
  std::vector<v1::Segment> Take();
  // 0 before anything was complete.
  int64_t covered_through() const { return covered_through_; }

 private:
  // Of one quantity, over the records of a row.
  struct Extremes {
    std::optional<double> min, max;
    bool nan = false;

    void Add(double value);
  };
  static constexpr std::array<v1::Column::Standard, 4> kMeasured = {
      v1::Column::LOSS, v1::Column::LOSS_SCALE, v1::Column::GRAD_NORM, v1::Column::ITERATION_SECONDS};

  // The records that the next row is to stand for.
  struct Gathered {
    int64_t first_sequence = 0, through_sequence = 0;
    int64_t first_attempt_sequence = 0;
    int32_t attempt = 0;
    int64_t records = 0;
    std::optional<int64_t> skipped;
    std::array<Extremes, kMeasured.size()> extremes;
    // The last record: each column with the one value it has, or none.
    std::vector<v1::Column> last;
    bool wanted = false;  // some record has a column that was asked for
  };
  class Source;
  class Rows;

  bool Wants(const v1::Column& column) const;
  void AddRecords(const v1::Segment& segment);
  void AddOther(const v1::Segment& segment);
  void CloseRow();
  void AppendRow(const Gathered& row);
  void EmitRows();
  void Emit(v1::Segment segment);

  const ThinningPlan plan_;
  int64_t early_records_;  // that rows may yet be short of records_per_row
  std::optional<Gathered> open_;
  std::vector<v1::Segment> held_;  // events and gaps among the records of open_
  size_t held_bytes_ = 0;
  std::optional<v1::Segment> rows_;  // complete rows that follow one another, to be one segment
  bool rows_grow_ = false;           // another may join them
  std::vector<v1::Segment> complete_;
  int64_t covered_through_ = 0;
};

}  // namespace mantissa::server
