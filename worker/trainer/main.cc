// mantissa-trainer: runs training attempts for an agent, one at a time.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <ATen/Version.h>
#include <c10/util/Exception.h>
#include <google/protobuf/util/json_util.h>
#include <torch/headeronly/version.h>

#include "process/clock.h"
#include "process/log.h"
#include "worker/trainer/bundle/replay_bundle.h"
#include "worker/trainer/machine/device_plugin.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/sandbox/sandbox.h"
#include "worker/trainer/trainer.h"

namespace mantissa::trainer {
namespace {

constexpr char kVersion[] = MANTISSA_VERSION;
constexpr int kUsageError = 2;
constexpr int kNotReproduced = 3;

struct Arguments {
  int frames_fd = -1;
  std::string device = "cpu";
  std::string plugin;
  std::string replay;  // folder
  bool json = false;
};

// `cpu` gives nothing, `cuda:1` gives 1.
absl::StatusOr<std::optional<std::int32_t>> CudaOrdinal(const std::string& device) {
  if (device == "cpu") return std::nullopt;
  std::int32_t ordinal = 0;
  if (device.rfind("cuda:", 0) == 0 && absl::SimpleAtoi(device.substr(5), &ordinal) && ordinal >= 0 && ordinal < 128) {
    return ordinal;
  }
  return absl::InvalidArgumentError(absl::StrCat("--device ", device, " is not a device; give cpu or cuda:N"));
}

v1::Device DescribeCpu() {
  v1::Device device;
  device.set_id("cpu-0");
  device.set_kind(v1::Device::CPU);
  device.set_model(CpuModel());
  device.set_memory_bytes(TotalMemory());
  device.set_cpu_threads(UsableThreads());
  for (const auto mode : {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16}) {
    device.add_precisions(mode);
  }
  return device;
}

v1::Device DescribeCuda(const MantissaDeviceFacts& facts, std::int32_t ordinal) {
  v1::Device device;
  device.set_id(absl::StrCat("cuda-", ordinal));
  device.set_kind(v1::Device::CUDA);
  device.set_model(facts.name);
  device.set_memory_bytes(facts.memory_bytes);
  device.set_compute_capability(absl::StrCat(facts.capability_major, ".", facts.capability_minor));
  device.set_cpu_threads(1);
  device.add_precisions(v1::PrecisionSpec::FP32);
  device.add_precisions(v1::PrecisionSpec::FP16);
  if (facts.capability_major >= 8) {
    device.add_precisions(v1::PrecisionSpec::BF16);
    device.add_precisions(v1::PrecisionSpec::TF32);
  }
  return device;
}

// The plug-in is opened here, before anything else of LibTorch is touched.
absl::StatusOr<TrainerOptions> OpenDevice(const Arguments& arguments) {
  auto ordinal = CudaOrdinal(arguments.device);
  if (!ordinal.ok()) return ordinal.status();
  TrainerOptions options;
  options.version = kVersion;
  if (!ordinal->has_value()) {
    options.description = DescribeCpu();
    return options;
  }
  auto api = OpenDevicePlugin(arguments.plugin.empty() ? DefaultPluginPath() : arguments.plugin);
  if (!api.ok()) return api.status();
  auto facts = DescribeDevice(**api, **ordinal);
  if (!facts.ok()) return facts.status();
  options.device = c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(**ordinal));
  options.description = DescribeCuda(*facts, **ordinal);
  options.max_attempts = 20;
  options.recorder = &(*api)->recorder;
  return options;
}

int Fail(const absl::Status& status, int code) {
  process::Log(process::Level::kError, std::string(status.message()));
  return code;
}

int PrintReplay(const Arguments& arguments, const TrainerOptions& options) {
  ReplayPlace place;
  place.device = options.device;
  if (!options.device.is_cpu()) place.device_name = options.description.model();
  for (const int mode : options.description.precisions()) {
    place.precisions.push_back(static_cast<v1::PrecisionSpec::Mode>(mode));
  }
  place.threads = std::max(1, options.description.cpu_threads());
  absl::StatusOr<ReplayedBundle> replayed = absl::UnknownError("");
  try {
    replayed = ReplayBundle(arguments.replay, place);
  } catch (const c10::Error& error) {
    replayed = absl::InternalError(error.msg());
  } catch (const std::exception& error) {
    replayed = absl::InternalError(error.what());
  }
  if (!replayed.ok()) {
    std::fprintf(stderr, "%s: %s\n", arguments.replay.c_str(), std::string(replayed.status().message()).c_str());
    return 1;
  }
  std::string text = ReplayText(*replayed);
  if (arguments.json) {
    google::protobuf::util::JsonPrintOptions print;
    print.preserve_proto_field_names = true;
    text.clear();
    if (!google::protobuf::util::MessageToJsonString(replayed->found, &text, print).ok()) return 1;
    text += "\n";
  }
  std::fputs(text.c_str(), stdout);
  return replayed->reproduced ? 0 : kNotReproduced;
}

int Run(const Arguments& arguments) {
  auto options = OpenDevice(arguments);
  if (!options.ok()) return Fail(options.status(), absl::IsInvalidArgument(options.status()) ? kUsageError : 1);
  PrepareProcess();
  if (!arguments.replay.empty()) return PrintReplay(arguments, *options);
  // A Ctrl-C at the terminal is the agent's affair, which then says what becomes of the attempt.
  std::signal(SIGINT, SIG_IGN);
  FrameChannel channel{process::FileDescriptor(arguments.frames_fd)};
  if (!channel.error().ok()) return Fail(channel.error(), kUsageError);
  options->enter_sandbox = &EnterSandbox;
  const process::RealClock clock;
  const absl::Status ended = Trainer(channel, clock, *options).Run();
  return ended.ok() ? 0 : Fail(ended, 1);
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Runs training attempts for mantissa-worker, which starts it; or one iteration of a bundle, by itself.");
  auto* frames = app.add_option("--frames-fd", arguments.frames_fd, "Descriptor of the socket to the agent.");
  auto* replay =
      app.add_option("--replay", arguments.replay,
                     "Run the iteration of the bundle in this folder once more, and say where it stops being "
                     "finite. Exits with 3 where it does not.");
  replay->type_name("FOLDER")->excludes(frames);
  app.add_flag("--json", arguments.json, "With --replay: print what was found as JSON.")->needs(replay);
  app.add_option("--device", arguments.device, "cpu or cuda:N. A trainer serves one device for life.");
  app.add_option("--plugin", arguments.plugin, "The CUDA plug-in. Default: libmantissa_cuda.so beside this program.");
  app.set_version_flag("--version", absl::StrCat("mantissa-trainer ", kVersion, " (torch ", TORCH_VERSION, ", build ",
                                                 MANTISSA_BUILD_ID, ")"));
  try {
    app.parse(argc, argv);
    if (frames->empty() && replay->empty()) throw CLI::RequiredError("--frames-fd or --replay");
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kUsageError;
  }
  return Run(arguments);
}

}  // namespace
}  // namespace mantissa::trainer

int main(int argc, char** argv) { return mantissa::trainer::Main(argc, argv); }
