#include "worker/trainer/machine/device_plugin.h"

#include <fstream>
#include <set>
#include <string>

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "tests/gpu/gpu.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Refusal(const MantissaDeviceApi& api) { return std::string(CheckDevicePlugin(api).message()); }

TEST(GpuPluginTest, ThePluginOfThisBuildIsTaken) { EXPECT_TRUE(CheckDevicePlugin(OpenedPlugin()).ok()); }

TEST(GpuPluginTest, EachIdentityThatDiffersIsRefusedByName) {
  MantissaDeviceApi other = OpenedPlugin();
  other.abi = MANTISSA_DEVICE_ABI + 1;
  EXPECT_THAT(Refusal(other),
              AllOf(HasSubstr("boundary number 3, this trainer 2"), HasSubstr("install both from one build")));
  other = OpenedPlugin();
  other.torch_version = "2.10.0";
  EXPECT_THAT(Refusal(other), HasSubstr("LibTorch 2.10.0"));
  other = OpenedPlugin();
  other.build_id = "another";
  EXPECT_THAT(Refusal(other), HasSubstr("build another"));
  other = OpenedPlugin();
  other.describe = nullptr;
  EXPECT_THAT(Refusal(other), HasSubstr("lacks functions"));
}

TEST(GpuPluginTest, AFileThatIsNotThereIsNamed) {
  const auto api = OpenDevicePlugin("/nowhere/libmantissa_cuda.so");
  EXPECT_TRUE(absl::IsUnavailable(api.status()));
  EXPECT_THAT(std::string(api.status().message()), HasSubstr("/nowhere/libmantissa_cuda.so"));
}

TEST(GpuPluginTest, DescribesEachDeviceAndNoneBeyond) {
  const auto facts = DescribeDevice(OpenedPlugin(), 0);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_NE(std::string(facts->name), "");
  EXPECT_GT(facts->memory_bytes, std::int64_t{1} << 30);
  EXPECT_GE(facts->capability_major, 8);  // the oldest that the plug-in has machine code for
  const auto none = DescribeDevice(OpenedPlugin(), OpenedPlugin().device_count());
  EXPECT_TRUE(absl::IsNotFound(none.status())) << none.status();
}

TEST(GpuPluginTest, AnErrorOfTheDriverIsSaidInWordsAndHarmsNothingAfterIt) {
  MantissaDeviceFacts facts = {};
  char error[64] = {};
  EXPECT_NE(OpenedPlugin().describe(1000, &facts, error, sizeof(error)), 0);
  EXPECT_THAT(std::string(error), HasSubstr("cudaErrorInvalidDevice"));
  EXPECT_EQ(at::ones({2}, at::TensorOptions().device(kGpu)).sum().item<float>(), 2);
}

// Two would each have a context, and memory of one means nothing to the other.
TEST(GpuPluginTest, OneCudaRuntimeIsLoaded) {
  std::set<std::string> runtimes;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("libcudart") != std::string::npos) runtimes.insert(line.substr(line.find('/')));
  }
  EXPECT_EQ(runtimes.size(), 1u) << testing::PrintToString(runtimes);
}

TEST(GpuMachineTest, MemoryIsTheDevices) {
  const std::int64_t before = MemoryInUse(kGpu);
  const std::int64_t free = FreeMemory(kGpu, /*limit_bytes=*/1);  // of host memory: no limit here
  EXPECT_GT(free, std::int64_t{1} << 30);
  const std::int64_t bytes = std::int64_t{256} << 20;
  {
    const at::Tensor block = at::empty({bytes}, at::TensorOptions(at::kByte).device(kGpu));
    EXPECT_EQ(MemoryInUse(kGpu) - before, bytes);
    EXPECT_LE(FreeMemory(kGpu, 0), free - bytes);
  }
  EXPECT_EQ(MemoryInUse(kGpu), before);
  EXPECT_LE(FreeMemory(kGpu, 0), free - bytes);  // the allocator keeps it
  ReleaseMemory(kGpu);
  EXPECT_GT(FreeMemory(kGpu, 0), free - bytes);
}

TEST(GpuMachineTest, WarmsUpOnTheDevice) {
  WarmUp(kGpu);
  EXPECT_EQ(at::ones({2}, at::TensorOptions().device(kGpu)).sum().item<float>(), 2);
}

}  // namespace
}  // namespace mantissa::trainer
