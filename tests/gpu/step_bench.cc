// How long an iteration takes, recorded and operation by operation: a JSON line for each number.
//
//   mantissa_gpu_step_bench COMMIT [--profile] [--nodes] [CASE...]
//
// --nodes prints what each recorded iteration is made of as well. The case `update` is the memory bandwidth of the ops
// between gradients and parameters.
//
// Blocks of the two engines take turns on one GPU, each of 200 iterations or 2 s, whichever is over first; what is
// printed is the median block's. Both run with full telemetry records, one for each iteration. With --profile, a table
// follows of the kernels of a recorded iteration, and how much of its time the GPU was at work.
//
//   mantissa_gpu_step_bench --pairs
//
// One side of pairs whose other side is another program: reads lines `CASE ITERATIONS`, runs so many recorded
// iterations and answers each line with a JSON line, {"seconds", "first_step_s", "peak_bytes", "loss"} or {"error"}. A
// case is a work and a precision, such as tiny_tf32; the last one's run is kept until another is asked for.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "process/clock.h"
#include "tests/gpu/gpu_run.h"
#include "tests/gpu/graph_nodes.h"
#include "tests/gpu/kernel_profile.h"
#include "tests/gpu/update_bandwidth.h"
#include "worker/data/feature_dataset.h"
#include "worker/data/token_dataset.h"
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

// A model, and data of its kind that say nothing.
struct Work {
  std::string name;
  std::string training;
  std::int64_t samples = 0;
  std::vector<std::int64_t> shape = {};  // of features; empty: sequences of 1024 tokens
  std::int64_t classes = 0;
};

struct Case {
  Work work;
  v1::PrecisionSpec::Mode mode = v1::PrecisionSpec::BF16;
  std::string name;
};

std::vector<Work> Works() {
  const std::string rest = " optimizer { adamw { learning_rate: 1e-4 } } iterations: 1000000 batch_size: ";
  // On both sides of where small_linear ends.
  const std::string square = "model { mlp { hidden: 256 hidden: 256 } }" + rest;
  const std::string layer = "model { transformer_encoder { layers: 1 d_model: 1024 heads: 16 } }" + rest;
  const std::string gpt2 = "model { gpt { layers: 12 d_model: 768 heads: 12 context: 1024 vocabulary: 50304 } }" + rest;
  return {{"tiny", "model { mlp { hidden: 64 hidden: 32 } }" + rest + "16", 4096, {32}, 10},
          {"mlp_256x256", square + "256", 2056, {256}, 256},
          {"mlp_257x256", square + "257", 2056, {256}, 256},
          {"layer_16x256", layer + "16", 128, {256, 1024}, 1000},
          {"layer_32x512", layer + "32", 128, {512, 1024}, 1000},
          {"gpt2_124m_8x1024", gpt2 + "8", 256, {}, 50304},
          {"gpt2_124m_32x1024", gpt2 + "32", 256, {}, 50304}};
}

// Empty where there is no such case.
std::optional<Case> CaseOf(const std::string& name) {
  const std::size_t end = name.rfind('_');
  v1::PrecisionSpec::Mode mode = v1::PrecisionSpec::MODE_UNSPECIFIED;
  if (end == std::string::npos || !v1::PrecisionSpec::Mode_Parse(absl::AsciiStrToUpper(name.substr(end + 1)), &mode)) {
    return std::nullopt;
  }
  for (const Work& work : Works()) {
    if (work.name == name.substr(0, end)) return Case{work, mode, name};
  }
  return std::nullopt;
}

std::unique_ptr<Dataset> DataOf(const Work& work) {
  if (work.shape.empty()) {
    constexpr std::int64_t kContext = 1024;
    return std::make_unique<TokenDataset>(at::randint(0, work.classes, {work.samples * kContext + 1}, at::kInt),
                                          work.classes, kContext, kContext);
  }
  std::vector<std::int64_t> sizes = work.shape;
  sizes.insert(sizes.begin(), work.samples);
  return std::make_unique<FeatureDataset>(at::randn(sizes), at::randint(0, work.classes, {work.samples}, at::kLong),
                                          work.classes);
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
  // Beside times: the kernels of an iteration, and the nodes of its graph.
  struct Tells {
    bool kernels = false;
    bool nodes = false;
  };

  Bench(const MantissaDeviceApi& api, std::string device, std::string commit, Tells tells)
      : api_(api), device_(std::move(device)), commit_(std::move(commit)), tells_(tells) {}

  void Measure(const Case& measured) {
    const process::RealClock clock;
    GpuRun eager(kGpu, measured.work.training, measured.mode, "", false, DataOf(measured.work));
    EagerEngine operations(eager.state(), eager.program(), clock);
    ResetPeakMemory(kGpu);
    const std::int64_t before = MemoryInUse(kGpu);
    GpuRun recorded(kGpu, measured.work.training, measured.mode, "", false, DataOf(measured.work));
    const auto began = std::chrono::steady_clock::now();
    const auto graphs = GraphEngine::Record(recorded.state(), recorded.program(), api_.recorder, clock);
    const double recording = Seconds(std::chrono::steady_clock::now() - began);
    if (!graphs.ok()) {
      std::fprintf(stderr, "%s: %s\n", measured.name.c_str(), std::string(graphs.status().message()).c_str());
      return;
    }
    // Rehearsals and recording have seen all that an iteration takes.
    const std::int64_t peak = PeakMemory(kGpu) - before;
    const std::vector<std::string> nodes = NodesOfLastCapture();
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
    if (tells_.kernels) PrintKernels(measured.name, **graphs, Median(of_graph));
    PrintNodes(measured.name, nodes);
  }

  void MeasureUpdate() {
    for (const UpdateBandwidth& op : MeasureUpdateBandwidth()) {
      Print(op.name, "bandwidth", op.bytes_per_second * 1e-9, "GB/s");
    }
  }

 private:
  void PrintNodes(const std::string& name, const std::vector<std::string>& nodes) const {
    Print(name, "graph_nodes", static_cast<double>(nodes.size()), "nodes");
    if (!tells_.nodes) return;
    std::map<std::string, int> counts;
    for (const std::string& node : nodes) ++counts[node];
    for (const auto& [node, count] : counts) std::fprintf(stderr, "%s: %4d x %s\n", name.c_str(), count, node.c_str());
  }

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
  const Tells tells_;
};

// A recorded run of one case, from a process that is warm and data that are in memory to its first step.
class PairedRun {
 public:
  PairedRun(const Case& measured, const MantissaRecorder& recorder) : name_(measured.name) {
    std::unique_ptr<Dataset> data = DataOf(measured.work);
    ResetPeakMemory(kGpu);
    const auto began = std::chrono::steady_clock::now();
    run_ = std::make_unique<GpuRun>(kGpu, measured.work.training, measured.mode, "", false, std::move(data));
    auto engine = GraphEngine::Record(run_->state(), run_->program(), recorder, clock_);
    if (!engine.ok()) {
      error_ = std::string(engine.status().message());
      return;
    }
    engine_ = *std::move(engine);
    Run(1);
    first_step_ = Seconds(std::chrono::steady_clock::now() - began);
  }

  const std::string& name() const { return name_; }
  const std::string& error() const { return error_; }
  double first_step() const { return first_step_; }
  double loss() const { return loss_; }

  // Seconds that so many iterations take; nothing is in flight before and after them.
  double Run(std::int64_t iterations) {
    const std::int64_t until = engine_->progress().iteration + iterations;
    const auto began = std::chrono::steady_clock::now();
    while (!engine_->RunUntil({until, until}, control_)) Learn();
    engine_->Drain();
    Learn();
    return Seconds(std::chrono::steady_clock::now() - began);
  }

 private:
  void Learn() {
    for (const IterationReport& report : engine_->Poll()) loss_ = report.record.loss;
  }

  const std::string name_;
  const process::RealClock clock_;
  NeverStop control_;
  std::unique_ptr<GpuRun> run_;
  std::unique_ptr<GraphEngine> engine_;
  std::string error_;
  double first_step_ = 0;
  double loss_ = 0;
};

void Refuse(const std::string& why) {
  std::printf("{\"error\": \"%s\"}\n", why.c_str());
  std::fflush(stdout);
}

void AnswerPairs(const MantissaDeviceApi& api) {
  std::unique_ptr<PairedRun> run;
  std::string name;
  std::int64_t iterations = 0;
  while (std::cin >> name >> iterations) {
    if (run == nullptr || run->name() != name) {
      run.reset();
      ReleaseMemory(kGpu);
      const std::optional<Case> measured = CaseOf(name);
      if (!measured) {
        Refuse("there is no such case; a case is a work and a precision, such as tiny_bf16");
        continue;
      }
      run = std::make_unique<PairedRun>(*measured, api.recorder);
    }
    if (!run->error().empty() || iterations < 1) {
      Refuse(iterations < 1 ? "at least one iteration is run" : "the iteration could not be recorded");
      std::fprintf(stderr, "%s: %s\n", name.c_str(), run->error().c_str());
      continue;
    }
    const double seconds = run->Run(iterations);
    // JSON has no number for what is not finite; Python's reader knows this word.
    const std::string loss = std::isfinite(run->loss()) ? absl::StrCat(run->loss()) : "NaN";
    std::printf("{\"seconds\": %.9g, \"first_step_s\": %.6g, \"peak_bytes\": %lld, \"loss\": %s}\n", seconds,
                run->first_step(), static_cast<long long>(PeakMemory(kGpu)), loss.c_str());
    std::fflush(stdout);
  }
}

int Main(int argc, char** argv) {
  const auto api = OpenDevicePlugin(DefaultPluginPath());
  if (!api.ok()) {
    std::fprintf(stderr, "%s\n", std::string(api.status().message()).c_str());
    return 1;
  }
  const auto facts = DescribeDevice(**api, kGpu.index());
  if (!facts.ok() || argc < 2) {
    std::fprintf(stderr, "%s\n",
                 argc < 2 ? "give the commit, or --pairs" : std::string(facts.status().message()).c_str());
    return 1;
  }
  PrepareProcess();
  UseOneStream(kGpu);
  WarmUp(kGpu);
  if (argv[1] == std::string_view("--pairs")) {
    AnswerPairs(**api);
    return 0;
  }
  std::vector<std::string> asked(argv + 2, argv + argc);
  Bench::Tells tells;
  tells.kernels = std::erase(asked, "--profile") > 0;
  tells.nodes = std::erase(asked, "--nodes") > 0;
  if (asked.empty()) {
    asked = {"tiny_bf16",
             "tiny_fp16",
             "mlp_256x256_bf16",
             "mlp_257x256_bf16",
             "layer_16x256_bf16",
             "layer_32x512_bf16",
             "gpt2_124m_8x1024_bf16",
             "gpt2_124m_32x1024_bf16",
             "update"};
  }
  Bench bench(**api, facts->name, argv[1], tells);
  for (const std::string& name : asked) {
    if (name == "update") {
      bench.MeasureUpdate();
      continue;
    }
    const std::optional<Case> measured = CaseOf(name);
    if (!measured) {
      std::fprintf(stderr, "there is no case %s; a case is a work and a precision, such as tiny_bf16\n", name.c_str());
      return 1;
    }
    ReleaseMemory(kGpu);
    bench.Measure(*measured);
  }
  ReleaseMemory(kGpu);
  return 0;
}

}  // namespace
}  // namespace mantissa::trainer

int main(int argc, char** argv) { return mantissa::trainer::Main(argc, argv); }
