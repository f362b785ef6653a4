#include "server/telemetry/watch_filter.h"

#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

v1::Segment Records() {
  v1::Segment segment;
  segment.set_first_sequence(9);
  segment.set_count(2);
  for (const v1::Column::Standard id : {v1::Column::ITERATION, v1::Column::LOSS, v1::Column::GRAD_NORM}) {
    v1::Column& column = *segment.mutable_records()->add_columns();
    column.set_standard(id);
    column.mutable_doubles()->add_values(1);
    column.mutable_doubles()->add_values(2);
  }
  v1::Column& named = *segment.mutable_records()->add_columns();
  named.set_name("eval/top5");
  named.mutable_doubles()->add_values(1);
  named.mutable_doubles()->add_values(2);
  return segment;
}

v1::Segment Event() {
  v1::Segment segment;
  segment.set_first_sequence(11);
  segment.set_count(1);
  segment.mutable_event()->set_reason("SCALE_GREW");
  return segment;
}

TEST(WatchFilterTest, AnEmptyOnePassesEverything) {
  const v1::WatchFilter filter;
  EXPECT_TRUE(PassesEverything(filter));
  v1::Segment records = Records();
  EXPECT_TRUE(ApplyFilter(filter, records));
  EXPECT_EQ(records.SerializeAsString(), Records().SerializeAsString());
}

TEST(WatchFilterTest, EventsOnlyLeavesRecordsOut) {
  v1::WatchFilter filter;
  filter.set_events_only(true);
  EXPECT_FALSE(PassesEverything(filter));
  v1::Segment records = Records(), event = Event(), gap;
  gap.mutable_gap()->set_from(1);
  EXPECT_FALSE(ApplyFilter(filter, records));
  EXPECT_TRUE(ApplyFilter(filter, event));
  EXPECT_TRUE(ApplyFilter(filter, gap));
}

TEST(WatchFilterTest, ColumnsKeepTheNamedOnesAndTheNumbers) {
  v1::WatchFilter filter;
  filter.add_columns(v1::Column::LOSS);
  filter.add_columns(v1::Column::ITERATION);
  EXPECT_FALSE(PassesEverything(filter));
  v1::Segment records = Records(), event = Event();
  ASSERT_TRUE(ApplyFilter(filter, records));
  ASSERT_EQ(records.records().columns_size(), 2);
  EXPECT_EQ(records.records().columns(0).standard(), v1::Column::ITERATION);
  EXPECT_EQ(records.records().columns(1).standard(), v1::Column::LOSS);
  EXPECT_EQ(records.first_sequence(), 9);
  EXPECT_EQ(records.count(), 2);
  EXPECT_TRUE(ApplyFilter(filter, event));
}

TEST(WatchFilterTest, RecordsWithoutAnyOfTheColumnsAreLeftOut) {
  v1::WatchFilter filter;
  filter.add_columns(v1::Column::MEMORY_BYTES);
  v1::Segment records = Records();
  EXPECT_FALSE(ApplyFilter(filter, records));
}

}  // namespace
}  // namespace mantissa::server
