// How long an iteration takes, recorded and operation by operation: a JSON line for each number.
//
//   mantissa_gpu_step_bench COMMIT [--profile] [CASE...]
//
// Blocks of the two engines take turns on one GPU, each of 200 iterations or 2 s, whichever is over first; what is
// printed is the median block's. Both run with full telemetry records, one for each iteration. With --profile, a table
// follows of the kernels of a recorded iteration, and how much of its time the GPU was at work.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "process/clock.h"
#include "tests/gpu/gpu_run.h"
#include "tests/gpu/kernel_profile.h"
#include "worker/data/feature_dataset.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/graph/graph_engine.h"
#include "worker/trainer/machine/device_plugin.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

constexpr int kBlocks = 7;
constexpr std::int64_t kBlockIterations = 200;
constexpr std::chrono::seconds kBlockTime(2);
constexpr std::int64_t kProfiledIterations = 5;

struct Case {
  std::string name;
  v1::PrecisionSpec::Mode mode;
  std::string training;
  std::vector<std::int64_t> shape = {};  // of features, in 1000 classes; empty: the spec's own data
};

std::vector<Case> Cases() {
  const std::string tiny =
      "model { mlp { hidden: 64 hidden: 32 } } data { train { synthetic { samples: 4096 shape: 32 classes: 10 } } } "
      "batch_size: 16";
  const std::string layer = "model { transformer_encoder { layers: 1 d_model: 1024 heads: 16 } } batch_size: ";
  const std::string gpt2 =
      "model { gpt { layers: 12 d_model: 768 heads: 12 context: 1024 } } "
      "data { train { synthetic { samples: 256 classes: 50304 } } } batch_size: ";
  return {{"tiny_bf16", v1::PrecisionSpec::BF16, tiny},
          {"tiny_fp16", v1::PrecisionSpec::FP16, tiny},
          {"layer_16x256_bf16", v1::PrecisionSpec::BF16, layer + "16", {256, 1024}},
          {"layer_32x512_bf16", v1::PrecisionSpec::BF16, layer + "32", {512, 1024}},
          {"gpt2_124m_8x1024_bf16", v1::PrecisionSpec::BF16, gpt2 + "8"},
          {"gpt2_124m_32x1024_bf16", v1::PrecisionSpec::BF16, gpt2 + "32"}};
}

// Null: the spec's own.
std::unique_ptr<Dataset> DataOf(const Case& measured) {
  if (measured.shape.empty()) return nullptr;
  std::vector<std::int64_t> sizes = measured.shape;
  sizes.insert(sizes.begin(), 128);
  return std::make_unique<FeatureDataset>(at::randn(sizes), at::randint(0, 1000, {128}, at::kLong), 1000);
}

double Seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Of one iteration, from end to end of a block; nothing is in flight before and after it.
double Block(Engine& engine) {
  NeverStop control;
  const std::int64_t from = engine.progress().iteration;
  const auto began = std::chrono::steady_clock::now();
  std::int64_t until = from + kBlockIterations;
  while (!engine.RunUntil({until, until}, control)) {
    engine.Poll();
    if (std::chrono::steady_clock::now() - began > kBlockTime) break;
  }
  engine.Drain();
  engine.Poll();
  const double seconds = Seconds(std::chrono::steady_clock::now() - began);
  return seconds / static_cast<double>(engine.progress().iteration - from);
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(const MantissaDeviceApi& api, std::string device, std::string commit, bool profile)
      : api_(api), device_(std::move(device)), commit_(std::move(commit)), profile_(profile) {}

  void Measure(const Case& measured) {
    const process::RealClock clock;
    GpuRun eager(kGpu, absl::StrCat(measured.training, " iterations: 1000000"), measured.mode, "", false,
                 DataOf(measured));
    EagerEngine operations(eager.state(), eager.program(), clock);
    ResetPeakMemory(kGpu);
    const std::int64_t before = MemoryInUse(kGpu);
    GpuRun recorded(kGpu, absl::StrCat(measured.training, " iterations: 1000000"), measured.mode, "", false,
                    DataOf(measured));
    const auto began = std::chrono::steady_clock::now();
    const auto graphs = GraphEngine::Record(recorded.state(), recorded.program(), api_.recorder, clock);
    const double recording = Seconds(std::chrono::steady_clock::now() - began);
    if (!graphs.ok()) {
      std::fprintf(stderr, "%s: %s\n", measured.name.c_str(), std::string(graphs.status().message()).c_str());
      return;
    }
    // Rehearsals and recording have seen all that an iteration takes.
    const std::int64_t peak = PeakMemory(kGpu) - before;
    std::vector<double> of_eager, of_graph, ratios;
    Block(operations);
    Block(**graphs);
    for (int i = 0; i < kBlocks; ++i) {
      of_eager.push_back(Block(operations));
      of_graph.push_back(Block(**graphs));
      ratios.push_back(of_eager.back() / of_graph.back());
    }
    Print(measured.name + "/eager", "step_ms", Median(of_eager) * 1e3, "ms");
    Print(measured.name + "/graph", "step_ms", Median(of_graph) * 1e3, "ms");
    Print(measured.name, "eager_to_graph", Median(ratios), "ratio");
    Print(measured.name, "record_s", recording, "s");
    Print(measured.name, "graph_pool_bytes", static_cast<double>((*graphs)->pool_bytes()), "B");
    Print(measured.name, "peak_bytes", static_cast<double>(peak), "B");
    if (profile_) PrintKernels(measured.name, **graphs, Median(of_graph));
  }

 private:
  void Print(const std::string& name, const char* metric, double value, const char* unit) const {
    std::printf(
        "{\"bench\": \"gpu_step\", \"case\": \"%s\", \"metric\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", "
        "\"device\": \"%s\", \"commit\": \"%s\"}\n",
        name.c_str(), metric, value, unit, device_.c_str(), commit_.c_str());
    std::fflush(stdout);
  }

  void PrintKernels(const std::string& name, Engine& engine, double step_seconds) const {
    const auto kernels = ProfileKernels(kProfiledIterations, [&] {
      NeverStop control;
      const std::int64_t until = engine.progress().iteration + kProfiledIterations;
      while (!engine.RunUntil({until, until}, control)) engine.Poll();
      engine.Drain();
      engine.Poll();
    });
    KernelTime all;
    for (const KernelTime& kernel : kernels) {
      all.calls += kernel.calls;
      all.seconds += kernel.seconds;
    }
    std::printf("%s: %.0f kernels, %.3f ms of an iteration's %.3f ms\n", name.c_str(), all.calls, all.seconds * 1e3,
                step_seconds * 1e3);
    std::printf("%10s %7s %7s  kernel\n", "us", "share", "calls");
    for (const KernelTime& kernel : kernels) {
      std::printf("%10.1f %6.1f%% %7.1f  %s\n", kernel.seconds * 1e6, 100 * kernel.seconds / all.seconds, kernel.calls,
                  kernel.name.c_str());
    }
    std::fflush(stdout);
  }

  const MantissaDeviceApi& api_;
  const std::string device_;
  const std::string commit_;
  const bool profile_;
};

int Main(int argc, char** argv) {
  const auto api = OpenDevicePlugin(DefaultPluginPath());
  if (!api.ok()) {
    std::fprintf(stderr, "%s\n", std::string(api.status().message()).c_str());
    return 1;
  }
  const auto facts = DescribeDevice(**api, kGpu.index());
  if (!facts.ok() || argc < 2) {
    std::fprintf(stderr, "%s\n", argc < 2 ? "give the commit" : std::string(facts.status().message()).c_str());
    return 1;
  }
  PrepareProcess();
  UseOneStream(kGpu);
  WarmUp(kGpu);
  std::vector<std::string> asked(argv + 2, argv + argc);
  const bool profile = std::erase(asked, "--profile") > 0;
  Bench bench(**api, facts->name, argv[1], profile);
  for (const Case& measured : Cases()) {
    if (!asked.empty() && std::find(asked.begin(), asked.end(), measured.name) == asked.end()) continue;
    ReleaseMemory(kGpu);
    bench.Measure(measured);
  }
  return 0;
}

}  // namespace
}  // namespace mantissa::trainer

int main(int argc, char** argv) { return mantissa::trainer::Main(argc, argv); }
