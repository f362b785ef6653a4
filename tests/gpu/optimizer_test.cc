// Adam, AdamW and SGD against their CPU twins, one update at a time from the same state.
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/kernels/cast_weights/stored_weight.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer {
namespace {

struct Case {
  std::string name;
  OptimizerSettings settings;
};

OptimizerSettings Settings(OptimizerSettings::Kind kind, double momentum = 0, bool nesterov = false) {
  OptimizerSettings settings;
  settings.kind = kind;
  settings.momentum = momentum;
  settings.nesterov = nesterov ? 1 : 0;
  settings.schedule.learning_rate = 3e-2;
  settings.schedule.kind = Schedule::kCosine;
  settings.schedule.final_ratio = 0.1;
  settings.schedule.warmup_steps = 5;
  settings.schedule.horizon = 40;
  return settings;
}

void PrintTo(const Case& tested, std::ostream* out) { *out << tested.name; }

std::vector<Case> Cases() {
  return {{"AdamW", Settings(OptimizerSettings::kAdamW)},
          {"Adam", Settings(OptimizerSettings::kAdam)},
          {"Sgd", Settings(OptimizerSettings::kSgd)},
          {"SgdMomentum", Settings(OptimizerSettings::kSgd, 0.9)},
          {"SgdNesterov", Settings(OptimizerSettings::kSgd, 0.9, true)}};
}

// Sizes around a vector, a piece and a chunk. With a gap of one element after the second,
// so that what follows begins where no float4 may.
std::vector<Chunk> Layout() {
  std::vector<Chunk> chunks;
  std::int64_t offset = 0;
  std::int64_t parameter = 0;
  for (const std::int64_t size : {1, 3, 4, 5, 1000, 16384, 65535, 65536, 65537, 131072}) {
    for (std::int64_t at = 0; at < size; at += 65536) {
      chunks.push_back({offset + at, std::min<std::int64_t>(65536, size - at), parameter, 0});
    }
    offset += (size + 15) / 16 * 16 + (parameter == 1 ? 1 : 0);
    ++parameter;
  }
  return chunks;
}

// Every other parameter decays, and every third goes at half the rate.
at::Tensor Rules() {
  std::vector<UpdateRule> rules;
  for (int parameter = 0; parameter < 10; ++parameter) {
    rules.push_back({parameter % 3 == 0 ? 0.5 : 1, parameter % 2 == 0 ? 0 : 0.1});
  }
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(rules.size() * sizeof(UpdateRule))}, at::kByte);
  std::memcpy(bytes.data_ptr(), rules.data(), rules.size() * sizeof(UpdateRule));
  return bytes;
}

std::int64_t SizeOf(const std::vector<Chunk>& chunks) { return chunks.back().begin + chunks.back().size + 7; }

// Every other parameter is kept low too, in the other order and so that the first begins where no four may be written.
LowCopies Copies(at::ScalarType type) {
  std::vector<StoredWeight> places(10);
  std::int64_t total = 1;
  for (std::size_t parameter : {8, 6, 4, 2, 0}) {
    std::int64_t begin = -1, size = 0;
    for (const Chunk& chunk : Layout()) {
      if (chunk.parameter != static_cast<std::int64_t>(parameter)) continue;
      if (begin < 0) begin = chunk.begin;
      size += chunk.size;
    }
    places[parameter].shift = total - begin;
    total += (size + 15) / 16 * 16;
  }
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(places.size() * sizeof(StoredWeight))}, at::kByte);
  std::memcpy(bytes.data_ptr(), places.data(), places.size() * sizeof(StoredWeight));
  return {bytes, at::full({total}, 7, type)};
}

// The buffers of one optimizer on one device.
struct Buffers : public UpdateCall {
  static Buffers Random(const std::vector<Chunk>& chunks, const OptimizerSettings& settings) {
    at::manual_seed(9);
    const std::int64_t size = SizeOf(chunks);
    return {{at::randn({size}), at::randn({size}) * 1024, at::randn({size}) * 0.1, at::rand({size}),
             ChunkTensor(chunks), Rules(), BytesOf(settings), BytesOf(StepState())}};
  }

  Buffers To(at::Device device) const {
    const auto copy = [device](const at::Tensor& tensor) { return tensor.to(device).clone(); };
    Buffers copies{{copy(parameters), copy(gradients), copy(first), copy(second), copy(chunks), copy(rules),
                    copy(settings), copy(state)}};
    if (low.weights) copies.low = {copy(*low.places), copy(*low.weights)};
    return copies;
  }

  void Step(const OptimizerSettings& kind) const {
    if (kind.kind != OptimizerSettings::kSgd) return OpAdam(*this);
    UpdateCall call = *this;
    if (kind.momentum == 0) call.first = at::Tensor();
    OpSgd(call);
  }
};

StepState At(std::int64_t step, float found_inf = 0) {
  StepState state;
  state.step = step;
  state.loss_scale = 1024;
  state.factor = 0.7f / 1024;
  state.found_inf = found_inf;
  return state;
}

// Two units in the last place of the larger of what went in and what came out: the constants of an update come out of
// double pow and cos, whose last bits may round the FP32 constants differently.
void ExpectNear(const at::Tensor& gpu, const at::Tensor& cpu, const at::Tensor& before, const char* what) {
  const at::Tensor allowed = at::maximum(cpu.abs(), before.abs()) * 0x1p-22;
  const at::Tensor error = (gpu.cpu() - cpu).abs();
  EXPECT_TRUE(error.le(allowed).all().item<bool>())
      << what << " " << error.gt(allowed).sum().item<std::int64_t>() << " elements differ";
}

class GpuOptimizerTest : public testing::TestWithParam<Case> {};

TEST_P(GpuOptimizerTest, EveryUpdateAgreesWithTheCpu) {
  const OptimizerSettings& settings = GetParam().settings;
  const Buffers cpu = Buffers::Random(Layout(), settings);
  for (std::int64_t step = 0; step < 12; ++step) {
    cpu.gradients.copy_(at::randn_like(cpu.gradients) * 1024);
    cpu.state.copy_(BytesOf(At(step * 4)));
    const Buffers before = cpu.To(at::kCPU);
    const Buffers gpu = cpu.To(kGpu);
    cpu.Step(settings);
    gpu.Step(settings);
    ExpectNear(gpu.parameters, cpu.parameters, before.parameters, "parameters");
    ExpectNear(gpu.first, cpu.first, before.first, "first moment");
    ExpectNear(gpu.second, cpu.second, before.second, "second moment");
    EXPECT_FALSE(at::equal(cpu.parameters, before.parameters));
    StepState on_gpu = StructOf<StepState>(gpu.state);
    const StepState on_cpu = StructOf<StepState>(cpu.state);
    EXPECT_GT(on_gpu.learning_rate, 0);
    EXPECT_NEAR(on_gpu.learning_rate, on_cpu.learning_rate, 1e-15);  // a double cos of another library
    on_gpu.learning_rate = on_cpu.learning_rate;
    EXPECT_EQ(std::memcmp(&on_gpu, &on_cpu, sizeof(on_cpu)), 0);
  }
}

TEST(GpuAdamTest, AGradientWhoseSquareOverflowsMovesItsElementAsOnTheCpu) {
  for (const OptimizerSettings::Kind kind : {OptimizerSettings::kAdamW, OptimizerSettings::kAdam}) {
    const OptimizerSettings settings = Settings(kind);
    const Buffers cpu = Buffers::Random(Layout(), settings);
    for (std::int64_t i = 0; i < 2000; ++i) cpu.gradients[i] = (i % 2 == 0 ? 1 : -1) * 3e38f;
    cpu.state.copy_(BytesOf(StepState()));
    const Buffers before = cpu.To(at::kCPU);
    const Buffers gpu = cpu.To(kGpu);
    cpu.Step(settings);
    gpu.Step(settings);
    EXPECT_TRUE(at::isfinite(gpu.second).all().item<bool>());
    ExpectNear(gpu.parameters, cpu.parameters, before.parameters, "parameters");
    ExpectNear(gpu.second, cpu.second, before.second, "second moment");
  }
}

TEST_P(GpuOptimizerTest, WhatNoChunkCoversIsLeftAlone) {
  const OptimizerSettings& settings = GetParam().settings;
  const Buffers before = Buffers::Random(Layout(), settings);
  const Buffers gpu = before.To(kGpu);
  gpu.state.copy_(BytesOf(At(3)));
  gpu.Step(settings);
  at::Tensor covered = at::zeros({SizeOf(Layout())}, at::kBool);
  for (const Chunk& chunk : Layout()) covered.narrow(0, chunk.begin, chunk.size).fill_(true);
  EXPECT_TRUE(at::equal(gpu.parameters.cpu().masked_select(covered.logical_not()),
                        before.parameters.masked_select(covered.logical_not())));
  EXPECT_FALSE(gpu.parameters.cpu().eq(before.parameters).logical_and(covered).all().item<bool>());
}

TEST_P(GpuOptimizerTest, ASkippedIterationWritesTheLearningRateAndNothingElse) {
  const OptimizerSettings& settings = GetParam().settings;
  const Buffers before = Buffers::Random(Layout(), settings);
  before.gradients[5] = INFINITY;
  const Buffers gpu = before.To(kGpu);
  gpu.state.copy_(BytesOf(At(2, /*found_inf=*/1)));
  gpu.Step(settings);
  EXPECT_TRUE(at::equal(gpu.parameters.cpu(), before.parameters));
  EXPECT_TRUE(at::equal(gpu.first.cpu(), before.first));
  EXPECT_TRUE(at::equal(gpu.second.cpu(), before.second));
  StepState expected = At(2, 1);
  expected.learning_rate = LearningRateAt(settings.schedule, 2);
  const StepState state = StructOf<StepState>(gpu.state);
  EXPECT_EQ(std::memcmp(&state, &expected, sizeof(state)), 0);  // warm-up: no cos
}

TEST_P(GpuOptimizerTest, LowCopiesAreTheValuesRoundedOnce) {
  const OptimizerSettings& settings = GetParam().settings;
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    Buffers gpu = Buffers::Random(Layout(), settings);
    gpu.low = Copies(type);
    gpu = gpu.To(kGpu);
    const at::Tensor untouched = gpu.low.weights->cpu();
    for (const StepState& state : {At(2, /*found_inf=*/1), At(3)}) {
      gpu.state.copy_(BytesOf(state));
      gpu.Step(settings);
      at::Tensor want = untouched.clone();
      for (const Chunk& chunk : Layout()) {
        const std::int64_t shift = StructOf<StoredWeight>(*gpu.low.places, chunk.parameter).shift;
        if (state.found_inf != 0 || shift == StoredWeight::kNowhere) continue;
        want.narrow(0, chunk.begin + shift, chunk.size)
            .copy_(gpu.parameters.cpu().narrow(0, chunk.begin, chunk.size).to(type));
      }
      EXPECT_TRUE(at::equal(gpu.low.weights->cpu(), want)) << type;
    }
  }
}

TEST_P(GpuOptimizerTest, AHaltedRunIsLeftAlone) {
  const OptimizerSettings& settings = GetParam().settings;
  const Buffers before = Buffers::Random(Layout(), settings);
  const Buffers gpu = before.To(kGpu);
  StepState halted = At(2);
  halted.halt = static_cast<std::int32_t>(Halt::kScaleAtFloor);
  gpu.state.copy_(BytesOf(halted));
  gpu.Step(settings);
  EXPECT_TRUE(at::equal(gpu.parameters.cpu(), before.parameters));
  EXPECT_TRUE(at::equal(gpu.first.cpu(), before.first));
  EXPECT_TRUE(at::equal(gpu.second.cpu(), before.second));
  const StepState state = StructOf<StepState>(gpu.state);
  EXPECT_EQ(std::memcmp(&state, &halted, sizeof(state)), 0);
}

TEST_P(GpuOptimizerTest, BuffersThatBeginAnywhereGiveTheSameBits) {
  const OptimizerSettings& settings = GetParam().settings;
  const Buffers aligned = Buffers::Random(Layout(), settings).To(kGpu);
  Buffers off = aligned;
  for (at::Tensor* tensor : {&off.parameters, &off.gradients, &off.first, &off.second}) {
    const at::Tensor longer = at::zeros({tensor->numel() + 1}, tensor->options());
    longer.narrow(0, 1, tensor->numel()).copy_(*tensor);
    *tensor = longer.narrow(0, 1, tensor->numel());
  }
  off.state = BytesOf(At(7)).to(kGpu);
  aligned.state.copy_(BytesOf(At(7)));
  off.Step(settings);
  aligned.Step(settings);
  EXPECT_TRUE(at::equal(off.parameters, aligned.parameters));
  EXPECT_TRUE(at::equal(off.first, aligned.first));
}

TEST_P(GpuOptimizerTest, AModelWithoutParametersStillHasALearningRate) {
  const OptimizerSettings& settings = GetParam().settings;
  Buffers gpu = Buffers::Random(Layout(), settings).To(kGpu);
  gpu.chunks = ChunkTensor({}).to(kGpu);
  gpu.Step(settings);
  EXPECT_GT(StructOf<StepState>(gpu.state).learning_rate, 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, GpuOptimizerTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mantissa::trainer
