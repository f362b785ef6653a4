#include "worker/agent/devices/nvml.h"

#include <dlfcn.h>
#include <optional>
#include <vector>

#include "gmock/gmock.h"

#include "tests/unit/agent_devices/fake_nvml.h"

namespace mantissa::agent {
namespace {

class NvmlTest : public testing::Test {
 protected:
  NvmlTest() {
    void* const handle = ::dlopen(FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
    state_ = reinterpret_cast<FakeNvmlStateFunction*>(::dlsym(handle, kFakeNvmlState))();
    *state_ = FakeNvml();
  }

  FakeNvml* state_;
  Nvml nvml_{FAKE_NVML};
};

TEST_F(NvmlTest, ReadsWhatEachGpuSaysInBaseUnits) {
  const GpuReadings readings = nvml_.Read();
  EXPECT_EQ(readings.driver_version, "580.1");
  ASSERT_EQ(readings.gpus.size(), 2u);
  const GpuReading& second = readings.gpus[1];
  EXPECT_EQ(second.index, 1u);
  EXPECT_EQ(second.uuid, "GPU-1");
  EXPECT_EQ(second.model, "Fake H100");
  EXPECT_EQ(second.utilisation_ratio, 0.5);
  EXPECT_EQ(second.memory_used_bytes, 20e9);
  EXPECT_EQ(second.memory_total_bytes, 80e9);
  EXPECT_EQ(second.power_watts, 351.5);
  EXPECT_EQ(second.temperature_celsius, 61);
}

TEST_F(NvmlTest, AMachineWithoutADriverHasNoReadings) {
  Nvml none("libmantissa-no-such-driver.so.1");
  EXPECT_TRUE(none.Read().gpus.empty());
  EXPECT_TRUE(none.Read().gpus.empty()) << "however often it is asked";
}

TEST_F(NvmlTest, ALibraryOfAnotherKindIsNone) {
  Nvml wrong(FAKE_WRONG_NVML);
  EXPECT_TRUE(wrong.Read().gpus.empty());
  EXPECT_TRUE(wrong.Read().gpus.empty());
}

TEST_F(NvmlTest, AnOldLibraryTellsWhatItCan) {
  Nvml old(FAKE_OLD_NVML);
  const GpuReadings readings = old.Read();
  EXPECT_EQ(readings.driver_version, "");
  ASSERT_EQ(readings.gpus.size(), 2u);
  EXPECT_EQ(readings.gpus[0].uuid, "GPU-0");
  EXPECT_EQ(readings.gpus[0].power_watts, std::nullopt);
}

TEST_F(NvmlTest, ADriverThatIsLoadedLaterIsFound) {
  state_->init_result = 9;  // NVML_ERROR_DRIVER_NOT_LOADED
  EXPECT_TRUE(nvml_.Read().gpus.empty());
  state_->init_result = 0;
  EXPECT_EQ(nvml_.Read().gpus.size(), 2u);
}

TEST_F(NvmlTest, AFigureThatIsNotSupportedIsAbsentAndNoOther) {
  const auto present = [this](int refused) {
    state_->refused_figure = refused;
    const GpuReading gpu = nvml_.Read().gpus.at(0);
    return std::vector<bool>{gpu.utilisation_ratio.has_value(),
                             gpu.memory_used_bytes && gpu.memory_total_bytes,
                             gpu.power_watts.has_value(),
                             gpu.temperature_celsius.has_value(),
                             !gpu.uuid.empty(),
                             !gpu.model.empty()};
  };
  for (int figure = FakeNvml::kUtilisation; figure <= FakeNvml::kName; ++figure) {
    std::vector<bool> expected(6, true);
    expected[figure] = false;
    EXPECT_EQ(present(figure), expected) << figure;
  }
  EXPECT_EQ(present(-1), std::vector<bool>(6, true));
}

TEST_F(NvmlTest, AGpuThatFellOffTheBusIsLeftOutAndTheOtherKeepsItsIndex) {
  state_->lost = 0;
  ASSERT_EQ(nvml_.Read().gpus.size(), 1u);
  EXPECT_EQ(nvml_.Read().gpus[0].index, 1u);
  state_->lost = -1;
  state_->silent = 1;
  ASSERT_EQ(nvml_.Read().gpus.size(), 1u);
  EXPECT_EQ(nvml_.Read().gpus[0].index, 0u);
}

TEST_F(NvmlTest, NonsenseIsNotShown) {
  state_->gpus = 4'000'000'000;
  EXPECT_EQ(nvml_.Read().gpus.size(), 64u);
  state_->utilisation = 4'000'000'000;
  EXPECT_EQ(nvml_.Read().gpus[0].utilisation_ratio, std::nullopt);
}

}  // namespace
}  // namespace mantissa::agent
