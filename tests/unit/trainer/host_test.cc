#include "worker/trainer/machine/host.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

TEST(HostTest, TheMachineHasWhatThisProcessUses) {
  EXPECT_GT(ResidentMemory(), std::int64_t{1} << 20);
  EXPECT_GT(TotalMemory(), ResidentMemory());
  EXPECT_GT(AvailableMemory(0), 0);
  EXPECT_GE(UsableThreads(), 1);
  EXPECT_FALSE(CpuModel().empty());
}

TEST(HostTest, ALimitLeavesWhatTheProcessDoesNotHoldYet) {
  const std::int64_t held = ResidentMemory();
  constexpr std::int64_t kMore = std::int64_t{8} << 20;
  EXPECT_LE(AvailableMemory(held + kMore), kMore + (std::int64_t{1} << 20));  // which may have shrunk meanwhile
  EXPECT_EQ(AvailableMemory(1), 0) << "less than is held already leaves nothing, not less";
}

TEST(HostTest, TheCpuDevicesMemoryIsTheHosts) {
  EXPECT_EQ(FreeMemory(at::kCPU, 1), 0);
  EXPECT_GT(MemoryInUse(at::kCPU), 0);
}

TEST(HostTest, ThePeakIsOfWhatWasHeldBetweenTwoLooks) {
  constexpr std::int64_t kMore = std::int64_t{64} << 20;
  ResetPeakMemory(at::kCPU);
  const std::int64_t before = ResidentMemory();
  at::ones({kMore / 4});  // and gone again
  EXPECT_GE(PeakMemory(at::kCPU), before + kMore * 9 / 10);
  EXPECT_LT(MemoryInUse(at::kCPU), before + kMore / 2) << "nobody who looks now sees it";
  ResetPeakMemory(at::kCPU);
  EXPECT_LT(PeakMemory(at::kCPU), before + kMore / 2);
  EXPECT_GE(PeakMemory(at::kCPU), MemoryInUse(at::kCPU) - (std::int64_t{1} << 20));
}

TEST(ProcessGlobalsTest, EveryAttemptBeginsWithTheSameGlobals) {
  ResetProcess({});
  const at::Tensor drawn = at::rand({4});
  at::rand({3});
  at::set_num_threads(2);
  c10::GradMode::set_enabled(false);
  at::globalContext().setFlushDenormal(true);
  ResetProcess({});
  EXPECT_TRUE(at::equal(at::rand({4}), drawn));
  EXPECT_EQ(at::get_num_threads(), 1);
  EXPECT_TRUE(c10::GradMode::is_enabled());
  EXPECT_NE((at::full({1}, 1e-38f) * 1e-2f).item<float>(), 0) << "denormals are kept";
}

TEST(ProcessGlobalsTest, Tf32HoldsForOneAttempt) {
  ResetProcess({.tf32 = true});
  EXPECT_TRUE(at::globalContext().allowTF32CuBLAS());
  EXPECT_TRUE(at::globalContext().allowTF32CuDNN());
  ResetProcess({});
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  EXPECT_FALSE(at::globalContext().allowTF32CuDNN());
}

TEST(ProcessGlobalsTest, DeterminismHoldsForOneAttempt) {
  ResetProcess({.deterministic = true});
  EXPECT_TRUE(at::globalContext().deterministicCuDNN());
  EXPECT_FALSE(at::globalContext().userEnabledFlashSDP());
  EXPECT_FALSE(at::globalContext().userEnabledMemEfficientSDP());
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  EXPECT_FALSE(at::globalContext().deterministicAlgorithms()) << "it would refuse cuDNN's attention";
  ResetProcess({});
  EXPECT_FALSE(at::globalContext().deterministicCuDNN());
  EXPECT_TRUE(at::globalContext().userEnabledFlashSDP());
  EXPECT_TRUE(at::globalContext().userEnabledMemEfficientSDP());
}

}  // namespace
}  // namespace mantissa::trainer
