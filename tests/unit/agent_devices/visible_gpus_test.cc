#include "worker/agent/devices/visible_gpus.h"

#include <optional>

#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

GpuReadings Two() {
  GpuReadings readings;
  for (unsigned index = 0; index < 2; ++index) {
    GpuReading& gpu = readings.gpus.emplace_back();
    gpu.index = index;
    gpu.uuid = index == 0 ? "GPU-aaaa-1" : "GPU-bbbb-2";
  }
  return readings;
}

TEST(VisibleGpusTest, WhereAllAreVisibleNumbersAgree) { EXPECT_EQ(GpuIndexOf(3, "", {}), 3u); }

TEST(VisibleGpusTest, NumbersAreThoseOfTheList) {
  EXPECT_EQ(GpuIndexOf(0, "2, 0", {}), 2u);
  EXPECT_EQ(GpuIndexOf(1, "2, 0", {}), 0u);
  EXPECT_EQ(GpuIndexOf(2, "2, 0", {}), std::nullopt);
}

TEST(VisibleGpusTest, UuidsAreLookedUpByTheirBeginning) {
  EXPECT_EQ(GpuIndexOf(0, "GPU-bb,GPU-aaaa-1", Two()), 1u);
  EXPECT_EQ(GpuIndexOf(1, "GPU-bb,GPU-aaaa-1", Two()), 0u);
  EXPECT_EQ(GpuIndexOf(0, "GPU-cc", Two()), std::nullopt);
  EXPECT_EQ(GpuIndexOf(0, "GPU-bb", {}), std::nullopt) << "nothing was read yet";
}

TEST(VisibleGpusTest, WhatCannotBeToldIsNotGuessed) {
  EXPECT_EQ(GpuIndexOf(0, "MIG-GPU-aaaa-1/1/0", Two()), std::nullopt);
  EXPECT_EQ(GpuIndexOf(0, "-1", Two()), std::nullopt);
  EXPECT_EQ(GpuIndexOf(0, ",1", Two()), std::nullopt);
  EXPECT_EQ(GpuIndexOf(0, "1x", Two()), std::nullopt);
}

}  // namespace
}  // namespace mantissa::agent
