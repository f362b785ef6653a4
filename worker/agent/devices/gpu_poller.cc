#include "worker/agent/devices/gpu_poller.h"

#include <thread>
#include <utility>

#include "process/clock.h"
#include "process/mutex.h"

namespace mantissa::agent {

using process::SteadyTime;

struct GpuPoller::State {
  State(std::function<GpuReadings()> read, Options options) : read(std::move(read)), options(options) {}

  void Run();

  const std::function<GpuReadings()> read;
  const Options options;
  process::Mutex mutex;
  process::CondVar changed;
  std::optional<GpuReadings> newest ABSL_GUARDED_BY(mutex);
  SteadyTime read_at ABSL_GUARDED_BY(mutex);
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  bool ended ABSL_GUARDED_BY(mutex) = false;
};

void GpuPoller::State::Run() {
  while (true) {
    GpuReadings readings = read();
    process::MutexLock lock(mutex);
    newest = std::move(readings);
    read_at = std::chrono::steady_clock::now();
    const SteadyTime next = read_at + options.interval;
    while (!stopping && changed.WaitUntil(mutex, next)) {
    }
    if (!stopping) continue;
    ended = true;
    changed.NotifyAll();
    return;
  }
}

GpuPoller::GpuPoller(std::function<GpuReadings()> read, Options options)
    : state_(std::make_shared<State>(std::move(read), options)) {
  std::thread([state = state_] { state->Run(); }).detach();
}

GpuPoller::~GpuPoller() {
  const SteadyTime deadline = std::chrono::steady_clock::now() + state_->options.end_within;
  process::MutexLock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.NotifyAll();
  while (!state_->ended && state_->changed.WaitUntil(state_->mutex, deadline)) {
  }
}

std::optional<GpuReadings> GpuPoller::Newest() const {
  process::MutexLock lock(state_->mutex);
  if (!state_->newest || std::chrono::steady_clock::now() > state_->read_at + state_->options.fresh_for) {
    return std::nullopt;
  }
  return state_->newest;
}

}  // namespace mantissa::agent
