// The engine against PyTorch: iterations from recorded states, and where 200 of them lead. The goldens, and how far
// apart PyTorch's own runs are, come from tests/golden/engine/make_goldens.py.
#include <string>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/golden/engine/golden_expectations.h"

namespace mantissa::trainer {
namespace {

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    ExpectTheSameParameters(golden_, subject_);
  }

  const Golden golden_{GetParam()};
  Subject subject_{golden_, at::kCPU};
};

TEST_P(GoldenTest, EachRecordedIterationHasPyTorchsLossGradientsAndSkip) {
  ExpectRecordedIterations(golden_, subject_, golden_.IsOfSuchACpu() ? Place::kAsRecorded : Place::kAnotherDevice);
}

TEST_P(GoldenTest, TwoHundredIterationsEndAsCloseAsPyTorchsOwnRunsDo) { ExpectTrajectory(golden_, subject_); }

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, testing::ValuesIn(GoldenNames()),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace mantissa::trainer
