// The engine on the GPU against PyTorch's goldens, which were made on a CPU with the same explicit casts.
#include <string>

#include <gtest/gtest.h>

#include "tests/golden/engine/golden_expectations.h"
#include "tests/gpu/gpu.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

class GpuGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ResetProcess({});
    ExpectTheSameParameters(golden_, subject_);
  }

  const Golden golden_{GetParam()};
  Subject subject_{golden_, kGpu};
};

TEST_P(GpuGoldenTest, EachRecordedIterationHasPyTorchsLossGradientsAndSkip) {
  ExpectRecordedIterations(golden_, subject_, Place::kAnotherDevice);
}

TEST_P(GpuGoldenTest, TwoHundredIterationsEndAsCloseAsPyTorchsOwnRunsDo) { ExpectTrajectory(golden_, subject_); }

INSTANTIATE_TEST_SUITE_P(All, GpuGoldenTest, testing::ValuesIn(GoldenNames()),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace mantissa::trainer
