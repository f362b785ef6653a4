// Studies on a GPU: times are the device's, memory is measured, and failures are those that a CPU shows.
#include <cmath>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "process/clock.h"
#include "process/roots.h"
#include "tests/gpu/gpu.h"
#include "worker/studies/study.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Watcher final : public StudyObserver {
 public:
  bool stop_requested() override { return false; }
  void Done(std::int32_t, std::int32_t, const std::string&) override {}
};

class GpuStudiesTest : public testing::Test {
 protected:
  ~GpuStudiesTest() override { ResetProcess({}); }

  template <class Spec>
  v1::Report Run(absl::Status (*study)(const Spec&, const StudyEnvironment&, StudyObserver&, v1::Report&),
                 const std::string& text) {
    Spec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
    v1::Report report;
    EXPECT_TRUE(
        study(spec, {.device = kGpu, .device_name = "gpu", .roots = roots_, .clock = clock_}, watcher_, report).ok());
    RecordProperty("finding", report.finding());
    return report;
  }

  const process::Roots roots_;
  const process::RealClock clock_;
  Watcher watcher_;
};

TEST_F(GpuStudiesTest, EveryLayoutIsRightAndTimed) {
  const v1::Report report = Run(&RunLayoutBenchmark, "precisions: [FP32, TF32, FP16, BF16] rounds: 5");
  EXPECT_EQ(report.layout_benchmark().layouts_size(), 3 * 4 * 3);
  for (const v1::LayoutRow& row : report.layout_benchmark().layouts()) {
    EXPECT_TRUE(row.has_median_seconds()) << row.ShortDebugString();
    EXPECT_LE(row.roofline_share(), 1);
  }
}

TEST_F(GpuStudiesTest, UnalignedProductsAreRightWithAndWithoutPadding) {
  const v1::Report report = Run(&RunTensorCore, "rounds: 5");
  EXPECT_EQ(report.tensor_core().products_size(), 4 * 4);
  for (const v1::TensorCoreRow& row : report.tensor_core().products()) {
    EXPECT_TRUE(row.has_median_seconds()) << row.ShortDebugString();
    EXPECT_EQ(row.has_padded_seconds(), !row.aligned());
  }
  EXPECT_THAT(report.finding(), Not(HasSubstr("CPU")));
}

// Of transformers of some gigabytes. Of other models no tenth is promised: on an H200 an mlp of wide layers took 1.03
// times its estimate, a convnet in BF16 1.00 times, and in FP32, where cuDNN takes room to work in, 1.57 times.
TEST_F(GpuStudiesTest, MeasuredMemoryOfTransformersIsWithinATenthOfTheEstimate) {
  for (const char* training :
       {"model { transformer_encoder { layers: 4 d_model: 512 heads: 8 } } data { train { synthetic { samples: 256 "
        "shape: [256, 64] } } } batch_size: 256",
        "model { gpt { layers: 4 d_model: 512 heads: 8 context: 256 vocabulary: 8192 } } data { train { synthetic { "
        "samples: 128 classes: 8192 } } } batch_size: 128"}) {
    const v1::Report report = Run(&RunMemoryPlan, std::string("training { ") + training + " }");
    ASSERT_EQ(report.memory_plan().totals_size(), 4);
    for (const v1::MemoryTotal& total : report.memory_plan().totals()) {
      SCOPED_TRACE(training + (" " + total.ShortDebugString()));
      ASSERT_TRUE(total.has_measured_bytes());
      const double ratio = static_cast<double>(total.measured_bytes()) / static_cast<double>(total.estimated_bytes());
      EXPECT_NEAR(ratio, 1, 0.1);
    }
  }
}

TEST_F(GpuStudiesTest, NumbersFailAsTheyDoOnACpu) {
  const v1::Report report = Run(&RunFailureModes,
                                "modes: [PATHOLOGICAL_MODEL, SOFTMAX_OVERFLOW, LARGE_REDUCTION, SMALL_EPSILON, "
                                "LOST_UPDATES, EMBEDDING_GRADIENTS]");
  for (const v1::FailureRow& row : report.failure_modes().modes()) {
    EXPECT_EQ(row.outcome(), v1::FailureModesReport::REMEDIED) << row.ShortDebugString();
  }
}

TEST_F(GpuStudiesTest, ASmallModelIsTimedInBothPrecisions) {
  const v1::FailureRow row = Run(&RunFailureModes, "modes: SMALL_MODEL_OVERHEAD").failure_modes().modes(0);
  EXPECT_GT(row.low(), 0) << row.ShortDebugString();
  EXPECT_GT(row.remedied(), 0);
}

}  // namespace
}  // namespace mantissa::trainer
