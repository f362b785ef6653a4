#include "worker/studies/report/report_bound.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/study_report.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::Report WithCurves(int points) {
  v1::Report report;
  report.set_finding("a finding");
  v1::PrecisionComparisonReport& result = *report.mutable_precision_comparison();
  for (int i = 0; i < 4; ++i) result.add_precisions()->set_note("a row that is worth keeping");
  for (int i = 0; i < 4; ++i) result.add_reasons("a list of sentences is no table");
  for (int i = 0; i < points; ++i) {
    result.add_curves()->set_iteration(i);
    result.mutable_curves(i)->set_loss(0.5);
  }
  return report;
}

TEST(ReportBoundTest, WhatFitsStaysAsItIs) {
  v1::Report report = WithCurves(100);
  const std::string before = report.SerializeAsString();
  KeepWithin(spec::kMaxReportBytes, report);
  EXPECT_EQ(report.SerializeAsString(), before);
  EXPECT_FALSE(report.partial());
}

TEST(ReportBoundTest, ALargeTableLosesRowsEvenlyAndSaysSo) {
  v1::Report report = WithCurves(200'000);
  ASSERT_GT(report.ByteSizeLong(), spec::kMaxReportBytes);
  KeepWithin(spec::kMaxReportBytes, report);
  EXPECT_LE(report.ByteSizeLong(), spec::kMaxReportBytes);
  EXPECT_GT(report.ByteSizeLong(), spec::kMaxReportBytes / 4) << "no more is left out than has to be";
  const auto& curves = report.precision_comparison().curves();
  const int step = curves.Get(1).iteration();
  for (int i = 0; i < curves.size(); ++i) ASSERT_EQ(curves.Get(i).iteration(), i * step);
  EXPECT_EQ(report.precision_comparison().precisions_size(), 4) << "what is concluded stays";
  EXPECT_EQ(report.precision_comparison().reasons_size(), 4);
  EXPECT_TRUE(report.partial());
  ASSERT_EQ(report.limits_size(), 1);
  EXPECT_THAT(report.limits(0), AllOf(HasSubstr("of 200000 rows of curves"), HasSubstr("evenly spaced")));
}

TEST(ReportBoundTest, TablesThatAreLargeTogetherAreBothThinned) {
  v1::Report report = WithCurves(1000);
  for (int i = 0; i < 1000; ++i) {
    report.mutable_precision_comparison()->add_precisions()->set_note("note " + std::to_string(i));
  }
  KeepWithin(6000, report);
  EXPECT_LE(report.ByteSizeLong(), 6000u);
  EXPECT_EQ(report.limits_size(), 2);
}

TEST(ReportBoundTest, AReportWithoutTablesIsLeftAlone) {
  v1::Report report;
  report.set_finding(std::string(5000, 'x'));
  KeepWithin(1000, report);
  EXPECT_EQ(report.finding().size(), 5000u);
  report.mutable_format_table();
  KeepWithin(1000, report);
  EXPECT_EQ(report.finding().size(), 5000u);
}

}  // namespace
}  // namespace mantissa::trainer
