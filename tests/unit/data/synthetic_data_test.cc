#include "worker/data/synthetic_data.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "worker/data/random_draw.h"

namespace mantissa::trainer {
namespace {

constexpr std::uint64_t kTaskKey = 0x6d616e7469737361;  // "mantissa"

// One after another, as they are defined: the i-th number is one of the four of place i / 4.
at::Tensor Normals(std::uint64_t key, std::uint64_t stream, std::vector<std::int64_t> sizes) {
  at::Tensor drawn = at::empty(sizes, at::kFloat);
  float* const out = drawn.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < drawn.numel(); ++i) {
    out[i] = DrawNormal(key, {static_cast<std::uint64_t>(i / 4), stream})[static_cast<std::size_t>(i % 4)];
  }
  return drawn;
}

Batch AllOf(const Dataset& data) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(data.size()));
  std::iota(all.begin(), all.end(), 0);
  Batch batch;
  data.Gather(all, batch);
  return batch;
}

class SyntheticFeaturesTest : public ::testing::TestWithParam<int> {
 protected:
  ~SyntheticFeaturesTest() override { at::set_num_threads(threads_before_); }

 private:
  const int threads_before_ = at::get_num_threads();
};

// More numbers than one thread takes at a time, and no multiple of four.
TEST_P(SyntheticFeaturesTest, EveryBitIsTheSameForAnyNumberOfThreads) {
  at::set_num_threads(GetParam());
  v1::Synthetic spec;
  spec.set_samples(31);
  spec.add_shape(1777);
  spec.set_classes(13);
  spec.set_seed(3);
  const auto data = MakeSyntheticFeatures(spec, "synthetic", std::int64_t{1} << 30);
  ASSERT_TRUE(data.ok()) << data.status();
  const Batch batch = AllOf(**data);
  const at::Tensor features = Normals(/*key=*/3, /*stream=*/1, {31, 1777});
  const at::Tensor teacher = Normals(kTaskKey, /*stream=*/2, {1777, 13});
  EXPECT_TRUE(batch.input.equal(features));
  EXPECT_TRUE(batch.target.equal(features.matmul(teacher).argmax(1)));
}

INSTANTIATE_TEST_SUITE_P(Threads, SyntheticFeaturesTest, ::testing::Values(1, 3));

}  // namespace
}  // namespace mantissa::trainer
