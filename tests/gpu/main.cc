// Opens the plug-in before any tensor exists, as the trainer does, and runs the tests; where there is no GPU, says so.
#include <cstdio>
#include <string>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/gpu/gpu.h"
#include "worker/trainer/machine/device_plugin.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

constexpr int kSkipped = 77;

const MantissaDeviceApi* opened = nullptr;

bool HasDriver() { return ::access("/dev/nvidiactl", F_OK) == 0 || ::access("/dev/dxg", F_OK) == 0; }

int Skip(const char* why) {
  std::fprintf(stderr,
               "--------------------------------------------------------------------------------\n"
               "GPU TESTS SKIPPED: %s. No CUDA code was tested.\n"
               "--------------------------------------------------------------------------------\n",
               why);
  return kSkipped;
}

int Main(int argc, char** argv) {
  if (!HasDriver()) return Skip("this machine has no CUDA driver");
  // From here on a failure is one: there should be a GPU.
  auto plugin = OpenDevicePlugin(DefaultPluginPath());
  if (!plugin.ok()) {
    std::fprintf(stderr, "FAILED: %s\n", std::string(plugin.status().message()).c_str());
    return 1;
  }
  opened = *plugin;
  if (opened->device_count() == 0) return Skip("a driver is here, but no device is visible");
  PrepareProcess();
  UseOneStream(kGpu);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace

const MantissaDeviceApi& OpenedPlugin() { return *opened; }

}  // namespace mantissa::trainer

int main(int argc, char** argv) { return mantissa::trainer::Main(argc, argv); }
