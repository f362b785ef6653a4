#include "server/store/stored_rows.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

std::string LongReport() {
  v1::Report report;
  for (int i = 0; i < 10'000; ++i) report.mutable_format_table()->add_values()->set_value(i % 10);
  return report.SerializeAsString();
}

TEST(StoredReportTest, ItIsSmallAndComesBackAsItWas) {
  const std::string row = ToReportRow(LongReport());
  EXPECT_LT(row.size(), LongReport().size() / 10);
  EXPECT_EQ(ParseReport("01h", row)->SerializeAsString(), LongReport());
}

TEST(StoredReportTest, DamageIsSaidOfWhichJob) {
  std::string flipped = ToReportRow(LongReport());
  flipped[flipped.size() / 2] ^= 1;
  const std::string cut = ToReportRow(LongReport()).substr(0, 20);
  for (const std::string& row : {std::string(), std::string("nonsense"), cut, flipped, ToReportRow("\xff")}) {
    const absl::Status status = ParseReport("01h", row).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("01h"));
  }
}

TEST(StoredReportTest, WhatNoReportCanBeIsNotUnpacked) {
  EXPECT_EQ(ParseReport("01h", ToReportRow(std::string(2 << 20, '\0'))).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace mantissa::server
