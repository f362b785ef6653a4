#include "server/rpc/call/trace_context.h"

#include <string>

#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

const std::string kTraceId = "0af7651916cd43dd8448eb211c80319c";
const std::string kParentId = "b7ad6b7169203331";

TEST(TraceContextTest, TheTraceIdOfATraceparentIsTaken) {
  EXPECT_EQ(TraceIdIn("00-" + kTraceId + "-" + kParentId + "-01"), kTraceId);
  EXPECT_EQ(TraceIdIn("00-" + kTraceId + "-" + kParentId + "-00"), kTraceId);
  EXPECT_EQ(TraceIdIn("01-" + kTraceId + "-" + kParentId + "-01-what-comes-later"), kTraceId);
  EXPECT_EQ(TraceIdIn("cc-" + kTraceId + "-" + kParentId + "-01"), kTraceId);
}

TEST(TraceContextTest, WhatTheStandardCallsInvalidIsNone) {
  for (const std::string& invalid : {
           std::string(),
           std::string("00"),
           "ff-" + kTraceId + "-" + kParentId + "-01",       // a version that will never be
           "0x-" + kTraceId + "-" + kParentId + "-01",       // no hexadecimal digit
           "00-" + kTraceId + "-" + kParentId + "-0",        // too short
           "00-" + kTraceId + "-" + kParentId + "-01-more",  // version 0 ends there
           "01-" + kTraceId + "-" + kParentId + "-01more",   // no dash before what comes later
           "00_" + kTraceId + "-" + kParentId + "-01",       // other separators
           "00-" + kTraceId + "_" + kParentId + "-01",
           "00-" + kTraceId + "-" + kParentId + "_01",
           "00-" + std::string(32, '0') + "-" + kParentId + "-01",  // ids of zeros
           "00-" + kTraceId + "-" + std::string(16, '0') + "-01",
           "00-0AF7651916CD43DD8448EB211C80319C-" + kParentId + "-01",  // upper case
           "00-" + kTraceId + "-B7AD6B7169203331-01",
           "00-" + kTraceId + "-" + kParentId + "-0g",
       }) {
    EXPECT_EQ(TraceIdIn(invalid), "") << invalid;
  }
}

}  // namespace
}  // namespace mantissa::server
