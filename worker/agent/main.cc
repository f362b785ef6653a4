// mantissa-worker: reads its settings, forks the launcher, runs the agent.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "prometheus/exposer.h"
#include "prometheus/registry.h"

#include "process/clock.h"
#include "process/ids.h"
#include "process/log.h"
#include "process/metrics_listener.h"
#include "process/roots.h"
#include "process/settings_flags.h"
#include "process/stop_signal.h"
#include "worker/agent/agent.h"
#include "worker/agent/certificate_metrics.h"
#include "worker/agent/devices/device_metrics.h"
#include "worker/agent/devices/gpu_poller.h"
#include "worker/agent/devices/nvml.h"
#include "worker/agent/devices/visible_gpus.h"
#include "worker/agent/exporters/export_setup.h"
#include "worker/agent/health_probe.h"
#include "worker/agent/identity.h"
#include "worker/agent/link/grpc_server_link.h"
#include "worker/agent/pilot.h"
#include "worker/agent/process_metrics.h"
#include "worker/agent/worker_settings.h"

namespace mantissa::agent {
namespace {

using process::Level;
using process::Log;

constexpr std::chrono::milliseconds kTellGrace{2'000};

// Nothing can be found where no driver is; a trainer that tries would only write about it.
bool MayHaveCuda() { return ::access("/dev/nvidiactl", F_OK) == 0 || ::access("/dev/dxg", F_OK) == 0; }

// Said where a plug-in for GPUs has no GPU: in a container that was given none, most likely.
void SayWhyNoGpu(const std::string& trainer) {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::canonical(trainer, error);
  if (error || MayHaveCuda() || !std::filesystem::exists(program.parent_path() / "libmantissa_cuda.so", error)) return;
  Log(Level::kWarning,
      "no NVIDIA driver is here, so no GPU is offered and jobs run on the CPU; a container is given GPUs by "
      "NVIDIA's container toolkit (docker run --gpus all)");
}

AgentOptions MakeOptions(const WorkerSettings& settings, const WorkerSetup& setup, const process::Roots& roots,
                         const std::string& worker_id) {
  AgentOptions options;
  options.worker_id = worker_id;
  options.session_id = process::RandomUuid();
  options.host_name = HostName();
  options.version = MANTISSA_VERSION;
  options.labels = setup.labels;
  options.server = settings.server;
  options.dcgm_job_mapping_dir = settings.dcgm_job_mapping_dir;
  options.drain_grace = settings.drain_grace;
  // What is left is for telling the server of a trainer that had to be killed: a drain costs its job no retry.
  options.leave_grace =
      settings.drain_grace - std::min<std::chrono::milliseconds>(settings.drain_grace / 4, kTellGrace);
  options.trainers.program = setup.trainer;
  options.trainers.environment = TrainerEnvironment(environ);
  options.trainers.cpu_slots = static_cast<int>(settings.cpu_slots);
  options.trainers.threads = setup.threads;
  options.trainers.required_sandbox = setup.required_sandbox;
  options.trainers.expected_sandbox = setup.kernel_sandbox;
  options.trainers.probe_cuda = MayHaveCuda();
  for (std::size_t i = 0; i < roots.all().size(); ++i) {
    const process::OpenRoot& open = roots.all()[i];
    const std::string storage_id = open.StorageId().value_or("");  // a read-only root may have none
    v1::Root& root = options.roots.emplace_back();
    root.set_name(open.name());
    root.set_storage_id(storage_id);
    root.set_writable(open.writable());
    v1::BoundRoot& bound = options.bound_roots.emplace_back();
    bound.set_name(open.name());
    bound.set_path(setup.roots[i].path);
    bound.set_writable(open.writable());
    bound.set_storage_id(storage_id);
  }
  return options;
}

// Whether a pilot leaves, said in the log with its reason.
bool Leaves(Pilot::Leave leave) {
  switch (leave) {
    case Pilot::Leave::kNo:
      return false;
    case Pilot::Leave::kBeforeTheEnd:
      Log(Level::kInfo, "the allocation ends soon: what runs is saved and given back (--pilot-margin)");
      return true;
    case Pilot::Leave::kIdle:
      Log(Level::kInfo, "there has been no work for a while: the allocation is given back (--pilot-idle)");
      return true;
    case Pilot::Leave::kNeverReady:
      Log(Level::kError,
          "no server was reached, or no device came up: the allocation is given back; is --server right, and does "
          "mantissa-trainer run here?");
      return true;
  }
  return false;
}

// Until the agent has finished, or an error ends it. `failed`: it has finished, and was of no use.
absl::Status TurnUntilFinished(Agent& agent, std::optional<Pilot> pilot, const process::Clock& clock, bool& failed) {
  while (!agent.Finished()) {
    if (absl::Status turned = agent.Turn(std::chrono::milliseconds(1'000)); !turned.ok()) return turned;
    if (!pilot) continue;
    const Pilot::Leave leave = pilot->Decide(!agent.attempts().empty(), agent.ready(), clock.Now());
    if (!Leaves(leave)) continue;
    failed = leave == Pilot::Leave::kNeverReady;
    agent.RequestDrain();
    pilot.reset();
  }
  return absl::OkStatus();
}

int Run(const WorkerSettings& settings, const WorkerSetup& setup, const ExportSetup& exporters,
        const std::optional<PilotOptions>& pilot, Launcher launcher) {
  process::StopSignal stop;
  const absl::StatusOr<Identity> identity = Identity::Open(settings.state_dir, settings.worker_id);
  if (!identity.ok()) {
    Log(Level::kError, std::string(identity.status().message()));
    return 1;
  }
  const absl::StatusOr<process::Roots> roots = process::Roots::Open(setup.roots);
  if (!roots.ok()) {
    Log(Level::kError, absl::StrCat("--root: ", std::string(roots.status().message())));
    return 1;
  }
  for (const process::OpenRoot& root : roots->all()) {
    if (!root.writable()) continue;
    // Without it no checkpoint can be committed: better known now than when a job has trained for an hour.
    if (const absl::StatusOr<std::string> id = root.StorageId(); !id.ok()) {
      Log(Level::kError, absl::StrCat("--root: ", std::string(id.status().message())));
      return 1;
    }
  }
  const auto registry = std::make_shared<prometheus::Registry>();
  WorkerMetrics metrics(*registry);
  metrics.build_info.Add({{"version", MANTISSA_VERSION}, {"grpc", grpc::Version()}}).Set(1);
  const auto nvml = std::make_shared<Nvml>();
  const GpuPoller gpus([nvml] { return nvml->Read(); }, {});
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string visible_gpus = visible == nullptr ? "" : visible;
  const auto device_metrics = std::make_shared<DeviceMetrics>(gpus, visible_gpus);
  const auto process_metrics = std::make_shared<ProcessMetrics>();
  const process::RealClock clock;
  const auto certificate_metrics = std::make_shared<CertificateMetrics>(setup.tls, clock);
  std::optional<prometheus::Exposer> exposer;
  try {
    exposer.emplace(process::MetricsListenerOptions(settings.metrics_listen));
    exposer->RegisterCollectable(registry);
    exposer->RegisterCollectable(device_metrics);
    exposer->RegisterCollectable(process_metrics);
    exposer->RegisterCollectable(certificate_metrics);
  } catch (const std::exception& error) {
    Log(Level::kError, "--metrics-listen: can't listen there; is another worker running? name another port, or 0",
        {{"address", settings.metrics_listen}, {"error", error.what()}});
    return 1;
  }

  Inbox inbox;
  GrpcServerLink link(settings.server, setup.tls, settings.tls_server_name);
  ExportHub exports(clock, metrics);
  AddExporters(exporters, HostName(), clock, exports);
  AgentOptions options = MakeOptions(settings, setup, *roots, identity->worker_id());
  options.gpu_index = [&gpus, &visible_gpus](unsigned ordinal) {
    return GpuIndexOf(ordinal, visible_gpus, gpus.Newest().value_or(GpuReadings()));
  };
  Agent agent(std::move(options), AgentWorld{launcher, *roots, link, inbox, clock, metrics, exports});
  Log(Level::kInfo, "worker is starting",
      {{"worker", identity->worker_id()},
       {"server", settings.server},
       {"version", MANTISSA_VERSION},
       {"metrics_port", exposer->GetListeningPorts().front()}});
  SayWhyNoGpu(setup.trainer);
  agent.Start();
  std::thread waiter([&stop, &agent] {
    stop.Wait();
    agent.RequestDrain();
  });
  bool failed = false;
  std::optional<Pilot> leaves;
  if (pilot) leaves.emplace(*pilot, clock.Now());
  const absl::Status turned = TurnUntilFinished(agent, leaves, clock, failed);
  stop.Raise();  // the waiter may still wait
  waiter.join();
  if (!turned.ok()) {
    Log(Level::kError, std::string(turned.message()));
    return 1;
  }
  if (agent.LeftUndone()) {
    Log(Level::kWarning, "stopped with work left undone: the server was not told of every end in time (--drain-grace)");
    return 1;
  }
  Log(Level::kInfo, "worker has stopped");
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace mantissa::agent

int main(int argc, char** argv) {
  using namespace mantissa::agent;
  WorkerSettings values;
  mantissa::process::Settings settings = DeclareSettings(values);
  CLI::App app("Runs jobs of a mantissa-server on this machine's devices.", settings.program());
  app.set_version_flag("--version", std::string(MANTISSA_VERSION));
  mantissa::process::SettingTexts flags;
  mantissa::process::DeclareFlags(settings, app, flags);
  const CLI::App* const health = app.add_subcommand(
      "health",
      "Ask the worker that serves /metrics here (--metrics-listen) whether it reaches its server; exit 0 if so.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (absl::Status loaded = settings.Load(flags, mantissa::process::ProcessEnvironment()); !loaded.ok()) {
    std::fprintf(stderr, "mantissa-worker: %s\n", std::string(loaded.message()).c_str());
    return 2;
  }
  if (settings.print_config()) {
    std::fputs(settings.Print().c_str(), stdout);
    return 0;
  }
  if (health->parsed()) {
    const absl::Status answer = AskHealth(values.metrics_listen);
    std::fprintf(answer.ok() ? stdout : stderr, "%s\n",
                 answer.ok() ? "connected" : std::string(answer.message()).c_str());
    return answer.ok() ? 0 : 1;
  }
  const absl::StatusOr<WorkerSetup> setup = Prepare(values);
  if (!setup.ok()) {
    std::fprintf(stderr, "mantissa-worker: %s\n", std::string(setup.status().message()).c_str());
    return 2;
  }
  const absl::StatusOr<ExportSetup> exporters = PrepareExports(values, mantissa::process::ProcessEnvironment());
  if (!exporters.ok()) {
    std::fprintf(stderr, "mantissa-worker: %s\n", std::string(exporters.status().message()).c_str());
    return 2;
  }
  const mantissa::process::RealClock clock;
  const absl::StatusOr<std::optional<PilotOptions>> pilot =
      PreparePilot(values, mantissa::process::ProcessEnvironment(), clock.Now(), clock.WallNow());
  if (!pilot.ok()) {
    std::fprintf(stderr, "mantissa-worker: %s\n", std::string(pilot.status().message()).c_str());
    return 2;
  }
  mantissa::process::ConfigureLog(setup->log);
  // Note [Launcher before threads]: from here on there may be some.
  absl::StatusOr<Launcher> launcher = Launcher::Fork();
  if (!launcher.ok()) {
    std::fprintf(stderr, "mantissa-worker: %s\n", launcher.status().ToString().c_str());
    return 1;
  }
  return Run(values, *setup, *exporters, *pilot, std::move(*launcher));
}
