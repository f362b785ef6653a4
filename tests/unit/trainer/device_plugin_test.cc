#include "worker/trainer/machine/device_plugin.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/headeronly/version.h>

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

std::int32_t NoDevices() { return 0; }
std::int32_t Describes(std::int32_t, MantissaDeviceFacts*, char*, std::int64_t) { return 0; }

std::int32_t Records(MantissaWork, void*, MantissaGraph*, MantissaGraph**, char*, std::int64_t) { return 0; }
std::int32_t Launches(MantissaGraph*, char*, std::int64_t) { return 0; }
std::int64_t PoolBytes(const MantissaGraph*) { return 0; }
void Forgets(MantissaGraph*) {}
std::int32_t Maps(std::int64_t, void**, void**, char*, std::int64_t) { return 0; }
void Unmaps(void*) {}
std::int32_t Polls(char*, std::int64_t) { return 0; }

const MantissaRecorder kRecorder = {Records, Launches, PoolBytes, Forgets, Maps, Unmaps, Polls};
const MantissaDeviceApi kGood = {MANTISSA_DEVICE_ABI, TORCH_VERSION, MANTISSA_BUILD_ID,
                                 NoDevices,           Describes,     kRecorder};

std::string Fault(const MantissaDeviceApi& api) {
  const absl::Status status = CheckDevicePlugin(api);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  return std::string(status.message());
}

TEST(DevicePluginTest, OneOfThisBuildIsWelcome) { EXPECT_TRUE(CheckDevicePlugin(kGood).ok()); }

TEST(DevicePluginTest, AnotherBoundaryIsRefusedWithBothNumbers) {
  MantissaDeviceApi api = kGood;
  api.abi = MANTISSA_DEVICE_ABI + 7;
  EXPECT_EQ(Fault(api), "the CUDA plug-in has boundary number 9, this trainer 2; install both from one build");
}

TEST(DevicePluginTest, AnotherLibTorchIsRefusedWithBothVersions) {
  MantissaDeviceApi api = kGood;
  api.torch_version = "1.13.0";
  EXPECT_THAT(Fault(api), AllOf(HasSubstr("LibTorch 1.13.0, this trainer " TORCH_VERSION), HasSubstr("one build")));
  api.torch_version = nullptr;
  EXPECT_THAT(Fault(api), HasSubstr("LibTorch (none)"));
}

TEST(DevicePluginTest, AnotherBuildIsRefusedWithBothIdentities) {
  MantissaDeviceApi api = kGood;
  api.build_id = "0.0.0-somebody-elses";
  EXPECT_THAT(Fault(api), HasSubstr("build 0.0.0-somebody-elses, this trainer " MANTISSA_BUILD_ID));
  api.build_id = nullptr;
  EXPECT_THAT(Fault(api), HasSubstr("build (none)"));
}

TEST(DevicePluginTest, OneThatLacksAFunctionIsRefused) {
  MantissaDeviceApi api = kGood;
  api.device_count = nullptr;
  EXPECT_THAT(Fault(api), HasSubstr("lacks functions; install it again"));
  api = kGood;
  api.describe = nullptr;
  EXPECT_THAT(Fault(api), HasSubstr("lacks functions"));
  const auto lacks = [](auto member) {
    MantissaDeviceApi without = kGood;
    without.recorder.*member = nullptr;
    EXPECT_THAT(Fault(without), HasSubstr("lacks functions"));
  };
  lacks(&MantissaRecorder::record);
  lacks(&MantissaRecorder::launch);
  lacks(&MantissaRecorder::pool_bytes);
  lacks(&MantissaRecorder::forget);
  lacks(&MantissaRecorder::map_memory);
  lacks(&MantissaRecorder::unmap_memory);
  lacks(&MantissaRecorder::poll);
}

TEST(DevicePluginTest, AMissingFileIsUnavailableAndSaysHowToMendIt) {
  const auto api = OpenDevicePlugin("/nowhere/libmantissa_cuda.so");
  EXPECT_TRUE(absl::IsUnavailable(api.status()));
  EXPECT_THAT(std::string(api.status().message()),
              AllOf(HasSubstr("/nowhere/libmantissa_cuda.so"), HasSubstr("build it with nvcc")));
}

TEST(DevicePluginTest, ALibraryThatIsNoPluginIsRefused) {
  const auto api = OpenDevicePlugin("libm.so.6");
  EXPECT_TRUE(absl::IsFailedPrecondition(api.status())) << api.status();
  EXPECT_THAT(std::string(api.status().message()),
              HasSubstr("libm.so.6 is not a CUDA plug-in of Mantissa: it has no mantissa_device_api"));
}

TEST(DevicePluginTest, OneOfThisBuildIsOpenedAndDescribesItsDevices) {
  const auto api = OpenDevicePlugin(FAKE_DEVICE_PLUGIN);
  ASSERT_TRUE(api.ok()) << api.status();
  const auto facts = DescribeDevice(**api, 0);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_STREQ(facts->name, "Fake GPU");
  EXPECT_EQ(facts->memory_bytes, std::int64_t{80} << 30);
  EXPECT_EQ(facts->capability_major, 9);
}

TEST(DevicePluginTest, ADeviceThatIsNotThereIsNotFound) {
  const auto api = OpenDevicePlugin(FAKE_DEVICE_PLUGIN);
  ASSERT_TRUE(api.ok()) << api.status();
  for (const std::int32_t device : {-1, 2}) {
    const auto facts = DescribeDevice(**api, device);
    EXPECT_TRUE(absl::IsNotFound(facts.status())) << device;
    EXPECT_THAT(std::string(facts.status().message()),
                AllOf(HasSubstr("2 are visible"), HasSubstr("CUDA_VISIBLE_DEVICES")));
  }
}

TEST(DevicePluginTest, ADeviceThatDoesNotWorkSaysWhy) {
  const auto api = OpenDevicePlugin(FAKE_DEVICE_PLUGIN);
  ASSERT_TRUE(api.ok()) << api.status();
  const auto facts = DescribeDevice(**api, 1);
  EXPECT_TRUE(absl::IsUnavailable(facts.status()));
  EXPECT_THAT(std::string(facts.status().message()), HasSubstr("CUDA device 1 cannot be used: it fell off the bus"));
}

TEST(DevicePluginTest, TheDefaultPluginLiesBesideTheProgram) {
  EXPECT_THAT(DefaultPluginPath(), EndsWith("/libmantissa_cuda.so"));
  EXPECT_EQ(DefaultPluginPath().front(), '/');
}

}  // namespace
}  // namespace mantissa::trainer
