// How long an iteration takes, recorded and operation by operation: a JSON line for each number.
//
//   mantissa_gpu_step_bench COMMIT [--nodes] [CASE...]
//
// --nodes prints what each recorded iteration is made of as well. The case `update` is the memory bandwidth of the ops
// between gradients and parameters.
//
// Blocks of the two engines take turns on one GPU, each of 200 iterations or 2 s, whichever is over first; what is
// printed is the median block's. Both run with full telemetry records, one for each iteration.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "process/clock.h"
#include "tests/gpu/gpu_run.h"
#include "tests/gpu/graph_nodes.h"
#include "tests/gpu/update_bandwidth.h"
#include "worker/data/feature_dataset.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/graph/graph_engine.h"
#include "worker/trainer/machine/device_plugin.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

constexpr int kBlocks = 7;
constexpr std::int64_t kBlockIterations = 200;
constexpr std::chrono::seconds kBlockTime(2);

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
  // On both sides of where small_linear ends.
  const std::string square =
      "model { mlp { hidden: 256 hidden: 256 } } data { train { synthetic { samples: 2056 shape: 256 classes: 256 } } "
      "} "
      "batch_size: ";
  const std::string layer = "model { transformer_encoder { layers: 1 d_model: 1024 heads: 16 } } batch_size: ";
  return {{"tiny_bf16", v1::PrecisionSpec::BF16, tiny},
          {"tiny_fp16", v1::PrecisionSpec::FP16, tiny},
          {"mlp_256x256_bf16", v1::PrecisionSpec::BF16, square + "256"},
          {"mlp_257x256_bf16", v1::PrecisionSpec::BF16, square + "257"},
          {"layer_16x256_bf16", v1::PrecisionSpec::BF16, layer + "16", {256, 1024}},
          {"layer_32x512_bf16", v1::PrecisionSpec::BF16, layer + "32", {512, 1024}},
          {"gpt2_124m_8x1024_bf16", v1::PrecisionSpec::BF16,
           "model { gpt { layers: 12 d_model: 768 heads: 12 context: 1024 } } "
           "data { train { synthetic { samples: 256 classes: 50304 } } } batch_size: 8"}};
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
  Bench(const MantissaDeviceApi& api, std::string device, std::string commit, bool tells_nodes)
      : api_(api), device_(std::move(device)), commit_(std::move(commit)), tells_nodes_(tells_nodes) {}

  void Measure(const Case& measured) {
    const process::RealClock clock;
    GpuRun eager(kGpu, absl::StrCat(measured.training, " iterations: 1000000"), measured.mode, "", false,
                 DataOf(measured));
    EagerEngine operations(eager.state(), eager.program(), clock);
    GpuRun recorded(kGpu, absl::StrCat(measured.training, " iterations: 1000000"), measured.mode, "", false,
                    DataOf(measured));
    const auto began = std::chrono::steady_clock::now();
    const auto graphs = GraphEngine::Record(recorded.state(), recorded.program(), api_.recorder, clock);
    const double recording = Seconds(std::chrono::steady_clock::now() - began);
    if (!graphs.ok()) {
      std::fprintf(stderr, "%s: %s\n", measured.name.c_str(), std::string(graphs.status().message()).c_str());
      return;
    }
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
    if (!tells_nodes_) return;
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

  const MantissaDeviceApi& api_;
  const std::string device_;
  const std::string commit_;
  const bool tells_nodes_;
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
  const bool tells_nodes = std::erase(asked, "--nodes") > 0;
  Bench bench(**api, facts->name, argv[1], tells_nodes);
  for (const Case& measured : Cases()) {
    if (!asked.empty() && std::find(asked.begin(), asked.end(), measured.name) == asked.end()) continue;
    ReleaseMemory(kGpu);
    bench.Measure(measured);
  }
  ReleaseMemory(kGpu);
  if (asked.empty() || std::find(asked.begin(), asked.end(), "update") != asked.end()) bench.MeasureUpdate();
  return 0;
}

}  // namespace
}  // namespace mantissa::trainer

int main(int argc, char** argv) { return mantissa::trainer::Main(argc, argv); }
