#include "proto/spec/overflow_words.h"

#include <gtest/gtest.h>

namespace mantissa::spec {
namespace {

v1::OverflowLocation At(v1::OverflowLocation::Stage stage) {
  v1::OverflowLocation location;
  location.set_stage(stage);
  location.set_module("blocks.0.norm1");
  location.set_parameter("blocks.0.norm1.weight");
  location.set_micro_batch(1);
  location.set_micro_batches(1);
  location.set_inf_count(1);
  location.set_element_count(640);
  return location;
}

TEST(OverflowWordsTest, EveryStageIsAPlace) {
  using Location = v1::OverflowLocation;
  EXPECT_EQ(LocationWords(At(Location::INPUT)), "the input (1 Inf of 640)");
  EXPECT_EQ(LocationWords(At(Location::ACTIVATION)), "the output of blocks.0.norm1 (1 Inf of 640)");
  EXPECT_EQ(LocationWords(At(Location::LOSS)), "the loss (1 Inf of 640)");
  EXPECT_EQ(LocationWords(At(Location::ACTIVATION_GRADIENT)), "the gradient of blocks.0.norm1's output (1 Inf of 640)");
  EXPECT_EQ(LocationWords(At(Location::WEIGHT_GRADIENT)), "the gradient of blocks.0.norm1.weight (1 Inf of 640)");
  EXPECT_EQ(LocationWords(At(Location::ACCUMULATED_SUM)),
            "the sum of the gradients of blocks.0.norm1.weight over micro-batches (1 Inf of 640)");
}

TEST(OverflowWordsTest, AMicroBatchIsNamedWhereThereAreSeveral) {
  v1::OverflowLocation location = At(v1::OverflowLocation::INPUT);
  location.set_micro_batch(2);
  location.set_micro_batches(3);
  EXPECT_EQ(LocationWords(location), "the input (1 Inf of 640) in micro-batch 2 of 3");
}

TEST(OverflowWordsTest, WhatDidNotHappenAgainPointsAtTheHardware) {
  EXPECT_EQ(LocationWords(At(v1::OverflowLocation::NOT_REPRODUCED)),
            "nothing that happened again: run once more, everything was finite, so suspect the hardware");
}

TEST(OverflowWordsTest, AStageOfALaterReleaseIsSaidToBeUnknown) {
  EXPECT_EQ(LocationWords(At(static_cast<v1::OverflowLocation::Stage>(99))),
            "a place that this release does not know (1 Inf of 640)");
}

TEST(OverflowWordsTest, InfAndNanAreCountedApart) {
  EXPECT_EQ(CountWords(17, 0, 1280), "17 Inf of 1280");
  EXPECT_EQ(CountWords(0, 2, 1280), "2 NaN of 1280");
  EXPECT_EQ(CountWords(17, 2, 1280), "17 Inf and 2 NaN of 1280");
}

}  // namespace
}  // namespace mantissa::spec
