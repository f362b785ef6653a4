#include "worker/agent/trainers/trainer_pool.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/log.h"

namespace mantissa::agent {
namespace {

using process::Level;
using process::Log;
using process::SteadyTime;
using Stage = TrainerSession::Stage;

constexpr int kFailuresToWithdraw = 3;
constexpr std::chrono::milliseconds kMaxRestartBackoff{30'000};
// From the end of a trainer's frames to its own end; after that it is taken for hung.
constexpr std::chrono::milliseconds kEndGrace{1'000};

bool IsCuda(const v1::Device& device) { return device.kind() == v1::Device::CUDA; }

}  // namespace

TrainerPool::TrainerPool(TrainerPoolOptions options, Launcher& launcher)
    : options_(std::move(options)),
      launcher_(launcher),
      sandbox_level_(process::SandboxLevelName(options_.expected_sandbox)) {}

void TrainerPool::Start(SteadyTime now) {
  for (int i = 0; i < options_.cpu_slots; ++i) AddSlot(v1::Device::CPU, i);
  if (options_.probe_cuda) AddSlot(v1::Device::CUDA, 0);
  Settle(now);
}

absl::Status TrainerPool::Run(RunOrder order, SteadyTime now) {
  Slot* slot = FindSlot(order.device_id);
  if (slot == nullptr) return absl::NotFoundError(absl::StrCat("this worker has no device ", order.device_id));
  const Trainer* trainer = FindCurrent(order.device_id);
  if (slot->waiting.has_value() || (trainer != nullptr && trainer->session.running() != nullptr)) {
    return absl::FailedPreconditionError(absl::StrCat("device ", order.device_id, " is busy with another attempt"));
  }
  const SteadyTime deadline = order.start_timeout.count() > 0 ? now + order.start_timeout : SteadyTime::max();
  slot->waiting = Waiting{std::move(order), deadline};
  Settle(now);
  return absl::OkStatus();
}

void TrainerPool::Stop(const AttemptKey& key, const StopOrder& order, SteadyTime now) {
  for (Slot& slot : slots_) {
    if (!slot.waiting.has_value() || slot.waiting->order.key != key) continue;
    LoseWaiting(slot, {v1::Reason::WORKER_STOPPED, "stopped before it began"}, /*as_asked=*/true);
    return;
  }
  Trainer* trainer = FindRunning(key);
  if (trainer == nullptr || trainer->retired) return;
  trainer->kill_at = std::min(trainer->kill_at, now + order.grace);
  Check(*trainer, trainer->session.Stop(order), now);
  Settle(now);
}

void TrainerPool::LetGoOn(const AttemptKey& key) {
  Trainer* trainer = FindRunning(key);
  if (trainer == nullptr || trainer->retired) return;
  trainer->kill_at = SteadyTime::max();
  trainer->session.LetGoOn();
}

void TrainerPool::Kill(const AttemptKey& key, SteadyTime now) {
  Trainer* trainer = FindRunning(key);
  if (trainer == nullptr) return Stop(key, StopOrder{}, now);
  trainer->session.Condemn({v1::Reason::KILLED, "killed by its agent"}, /*as_asked=*/true);
  Kill(*trainer);
  Settle(now);
}

void TrainerPool::Tell(const AttemptKey& key, v1::CheckpointCommitted committed) {
  // One that can't be told finds no more room on its disk in the end; its attempt's end is not held up for it.
  if (Trainer* trainer = FindRunning(key)) trainer->session.Tell(std::move(committed)).IgnoreError();
}

void TrainerPool::AppendPollFds(std::vector<pollfd>& fds) const {
  for (const auto& trainer : trainers_) trainer->session.process().AppendPollFds(fds);
}

void TrainerPool::OnReady(const pollfd& ready, SteadyTime now) {
  for (const auto& trainer : trainers_) {
    if (!trainer->session.process().Owns(ready.fd)) continue;
    if ((ready.revents & POLLOUT) != 0)
      trainer->session.process().Flush().IgnoreError();  // the read says what is wrong
    Check(*trainer, trainer->session.Read(events_), now);
    return Settle(now);
  }
}

void TrainerPool::OnLauncherEvent(LauncherEvent event, SteadyTime now) {
  if (auto* started = std::get_if<ProcessStarted>(&event)) {
    if (Trainer* trainer = FindProcess(started->id)) {
      trainer->session.process().Started(std::move(*started));
      Check(*trainer, trainer->session.process().Flush(), now);
    }
  } else if (const auto* failed = std::get_if<ProcessNotStarted>(&event)) {
    if (Trainer* trainer = FindProcess(failed->id)) {
      const std::string device_id = trainer->session.device_id();
      std::erase_if(trainers_, [trainer](const auto& held) { return held.get() == trainer; });
      NeverWarm(device_id, absl::StrCat("can't start ", options_.program, ": ", std::strerror(failed->error)), now);
    }
  } else {
    OnEnded(std::get<ProcessEnded>(event), now);
  }
  Settle(now);
}

void TrainerPool::Tick(SteadyTime now) {
  for (const auto& trainer : trainers_) {
    if (!trainer->retired && now >= trainer->session.deadline()) {
      if (trainer->session.stage() == Stage::kStarting) {
        NeverWarm(trainer->session.device_id(), "its trainer did not say Hello in time", now);
      } else if (trainer->session.stage() == Stage::kBinding) {
        NeverWarm(trainer->session.device_id(), "its trainer did not say Bound in time", now);
      }
      trainer->session.Condemn(
          {v1::Reason::START_TIMEOUT, "the trainer said nothing about the attempt within its start timeout"},
          /*as_asked=*/false);
      Kill(*trainer);
    } else if (now >= trainer->kill_at) {
      trainer->session.Condemn(
          {v1::Reason::KILLED, trainer->session.stopping() ? "the trainer did not stop in time and was killed"
                                                           : "the trainer closed its frames, hung, and was killed"},
          /*as_asked=*/false);
      Kill(*trainer);
    }
  }
  for (Slot& slot : slots_) {
    if (!slot.waiting.has_value() || now < slot.waiting->deadline) continue;
    LoseWaiting(slot, {v1::Reason::START_TIMEOUT, "no trainer was ready within the start timeout"}, false);
  }
  Settle(now);
}

SteadyTime TrainerPool::NextDeadline() const {
  SteadyTime next = SteadyTime::max();
  for (const auto& trainer : trainers_) {
    next = std::min(next, trainer->kill_at);
    if (!trainer->retired) next = std::min(next, trainer->session.deadline());
  }
  for (const Slot& slot : slots_) {
    if (slot.waiting.has_value()) next = std::min(next, slot.waiting->deadline);
    const bool empty = std::none_of(trainers_.begin(), trainers_.end(), [&slot](const auto& trainer) {
      return !trainer->retired && trainer->session.device_id() == slot.device.id();
    });
    if (empty) next = std::min(next, slot.start_at);
  }
  return next;
}

std::vector<TrainerEvent> TrainerPool::TakeEvents() { return std::exchange(events_, {}); }

std::vector<v1::Device> TrainerPool::devices() const {
  std::vector<v1::Device> devices;
  for (const Slot& slot : slots_) {
    if (slot.announced) devices.push_back(slot.device);
  }
  return devices;
}

void TrainerPool::AddSlot(v1::Device::Kind kind, int ordinal) {
  Slot slot;
  slot.device.set_id(absl::StrCat(kind == v1::Device::CUDA ? "cuda-" : "cpu-", ordinal));
  slot.device.set_kind(kind);
  slot.ordinal = ordinal;
  slots_.push_back(std::move(slot));
}

TrainerPool::Slot* TrainerPool::FindSlot(const std::string& device_id) {
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&device_id](const Slot& slot) {
    return slot.device.id() == device_id && !slot.gone;
  });
  return found == slots_.end() ? nullptr : &*found;
}

TrainerPool::Trainer* TrainerPool::FindCurrent(const std::string& device_id) {
  for (const auto& trainer : trainers_) {
    if (!trainer->retired && trainer->session.device_id() == device_id) return trainer.get();
  }
  return nullptr;
}

TrainerPool::Trainer* TrainerPool::FindRunning(const AttemptKey& key) {
  for (const auto& trainer : trainers_) {
    if (const RunOrder* order = trainer->session.running(); order != nullptr && order->key == key) return trainer.get();
  }
  return nullptr;
}

TrainerPool::Trainer* TrainerPool::FindProcess(std::uint64_t id) {
  for (const auto& trainer : trainers_) {
    if (trainer->session.process().id() == id) return trainer.get();
  }
  return nullptr;
}

void TrainerPool::Settle(SteadyTime now) {
  // By index: both lists may grow underneath.
  for (std::size_t i = 0; i < trainers_.size(); ++i) SettleTrainer(*trainers_[i], now);
  for (std::size_t i = 0; i < slots_.size(); ++i) SettleSlot(slots_[i], now);
  std::erase_if(slots_, [](const Slot& slot) { return slot.gone; });
}

void TrainerPool::SettleTrainer(Trainer& trainer, SteadyTime now) {
  if (trainer.retired) return;
  const TrainerSession& session = trainer.session;
  if (session.running() == nullptr) {
    const Slot* slot = FindSlot(session.device_id());
    const bool cuda = slot != nullptr && IsCuda(slot->device);
    const bool worn = session.attempts() >= (cuda ? options_.max_attempts_cuda : options_.max_attempts_cpu);
    if (slot == nullptr || session.stage() == Stage::kSpent || worn) return Retire(trainer, now);
  }
}

void TrainerPool::SettleSlot(Slot& slot, SteadyTime now) {
  if (slot.gone) return;
  Trainer* trainer = FindCurrent(slot.device.id());
  if (trainer == nullptr) {
    if (now >= slot.start_at) StartTrainer(slot, now);
    return;
  }
  if (trainer->session.stage() == Stage::kStarting) return;
  if (!slot.announced) {
    const bool first = !slot.known;
    Adopt(slot, trainer->session.hello());
    if (slot.gone) return Retire(*trainer, now);
    if (first && IsCuda(slot.device)) {
      const std::string id = slot.device.id();
      AddSlot(v1::Device::CUDA, slot.ordinal + 1);  // moves the slots; the loop comes by again
      return SettleSlot(*FindSlot(id), now);
    }
  }
  if (slot.waiting.has_value()) Assign(slot, *trainer, now);
}

// A trainer has said Hello for the first time, or again after the device was withdrawn.
void TrainerPool::Adopt(Slot& slot, const v1::Hello& hello) {
  const v1::Device* own = nullptr;
  for (const v1::Device& device : hello.devices()) {
    if (device.kind() == slot.device.kind() && (own == nullptr || device.id() == slot.device.id())) own = &device;
  }
  if (own == nullptr && IsCuda(slot.device)) {
    Log(Level::kInfo, "no further CUDA device here", {{"device", slot.device.id()}});
    slot.gone = true;
    return;
  }
  if (own != nullptr) {
    const std::string id = slot.device.id();
    slot.device = *own;
    slot.device.set_id(id);
  }
  if (!IsCuda(slot.device)) slot.device.set_cpu_threads(options_.threads);
  slot.known = slot.announced = true;
  slot.failures = 0;
  AddFeatures(hello);
  events_.emplace_back(DevicesChanged{});
  Log(Level::kInfo, "device is ready",
      {{"device", slot.device.id()}, {"model", slot.device.model()}, {"torch", hello.torch_version()}});
}

void TrainerPool::AddFeatures(const v1::Hello& hello) {
  std::vector<std::string> features(hello.features().begin(), hello.features().end());
  std::sort(features.begin(), features.end());
  if (!std::exchange(features_known_, true)) {
    features_ = std::move(features);
    return;
  }
  std::erase_if(features_, [&features](const std::string& feature) {
    return !std::binary_search(features.begin(), features.end(), feature);
  });
}

void TrainerPool::StartTrainer(Slot& slot, SteadyTime now) {
  const std::uint64_t id = next_id_++;
  StartProcess start{.id = id, .arguments = {}, .environment = options_.environment};
  start.arguments = {options_.program, "--frames-fd", "3", "--device",
                     IsCuda(slot.device) ? absl::StrCat("cuda:", slot.ordinal) : "cpu"};
  if (absl::Status sent = launcher_.Start(start); !sent.ok()) {
    return NeverWarm(slot.device.id(), std::string(sent.message()), now);
  }
  ++counts_.started;
  if (std::exchange(slot.had_trainer, true)) ++counts_.replaced;
  trainers_.push_back(std::make_unique<Trainer>(id, slot.device.id()));
  Check(*trainers_.back(), trainers_.back()->session.Greet(now + options_.hello_timeout), now);
}

void TrainerPool::Assign(Slot& slot, Trainer& trainer, SteadyTime now) {
  TrainerSession& session = trainer.session;
  const RunOrder& order = slot.waiting->order;
  if (session.stage() == Stage::kWarm) {
    Check(trainer,
          session.Bind(order.tenant, slot.device, order.roots, options_.required_sandbox, now + options_.bind_timeout),
          now);
  } else if (session.stage() == Stage::kBound && session.tenant() != order.tenant) {
    Retire(trainer, now);
    StartTrainer(slot, now);
  } else if (session.stage() == Stage::kBound) {
    slot.failures = 0;
    sandbox_level_ = session.sandbox_level();
    Waiting waiting = *std::exchange(slot.waiting, std::nullopt);
    Check(trainer, session.Run(std::move(waiting.order), waiting.deadline), now);
  }
}

void TrainerPool::Retire(Trainer& trainer, SteadyTime now) {
  trainer.retired = true;
  // Who waits for a stop waits for the device: one that stopped in time has no longer to go.
  trainer.kill_at = std::min(trainer.kill_at, now + options_.shutdown_grace);
  // One that does not take it is killed at kill_at.
  trainer.session.Shutdown().IgnoreError();
}

void TrainerPool::Kill(Trainer& trainer) {
  trainer.retired = true;
  trainer.kill_at = SteadyTime::max();
  // A launcher that can't be reached is dead, and its trainers with it.
  launcher_.Signal(trainer.session.process().id(), SIGKILL).IgnoreError();
}

// What a failing call on a session means for the trainer.
void TrainerPool::Check(Trainer& trainer, const absl::Status& status, SteadyTime now) {
  if (status.ok()) return;
  if (process::IsEndOfStream(status)) {
    trainer.kill_at = std::min(trainer.kill_at, now + kEndGrace);
    return;
  }
  const std::string why(status.message());
  Log(Level::kError, "a trainer is of no use and is killed",
      {{"pid", trainer.session.process().pid()}, {"error", why}});
  const Stage stage = trainer.session.stage();
  const bool retired = trainer.retired;
  trainer.session.Condemn({v1::Reason::TRAINER_LOST, why}, /*as_asked=*/false);
  Kill(trainer);
  if (!retired && (stage == Stage::kStarting || stage == Stage::kBinding)) {
    NeverWarm(trainer.session.device_id(), why, now);
  }
}

void TrainerPool::OnEnded(const ProcessEnded& ended, SteadyTime now) {
  Trainer* trainer = FindProcess(ended.id);
  if (trainer == nullptr) return;
  const Stage stage = trainer->session.stage();
  const bool retired = trainer->retired;
  const std::string device_id = trainer->session.device_id();
  trainer->session.Finish(ended, events_);
  const ExitReason reason =
      ExplainExit(ended.wait_status, ended.out_of_memory, trainer->session.process().last_words());
  std::erase_if(trainers_, [trainer](const auto& held) { return held.get() == trainer; });
  if (retired) return;
  if (stage == Stage::kStarting || stage == Stage::kBinding) {
    return NeverWarm(device_id, reason.message, now);
  }
  Log(Level::kWarning, "a trainer ended unasked", {{"device", device_id}, {"reason", reason.message}});
  Slot* slot = FindSlot(device_id);
  // One that was at work is replaced at once; one that dies idle, not faster than this.
  if (slot != nullptr && stage != Stage::kRunning) slot->start_at = now + options_.restart_backoff;
}

void TrainerPool::NeverWarm(const std::string& device_id, const std::string& why, SteadyTime now) {
  Slot* slot = FindSlot(device_id);
  if (slot == nullptr) return;
  if (IsCuda(slot->device) && !slot->known) {
    // A probe beyond the last device is how the number of them is found; the first was there to be seen.
    if (slot->ordinal == 0) {
      Log(Level::kWarning, "this machine's GPU is not offered", {{"device", device_id}, {"reason", why}});
    } else {
      Log(Level::kInfo, "no further CUDA device here", {{"device", device_id}, {"reason", why}});
    }
    slot->gone = true;
    return;
  }
  auto wait = options_.restart_backoff;
  for (int i = 0; i < slot->failures && wait < kMaxRestartBackoff; ++i) wait *= 2;
  slot->start_at = now + std::min(wait, kMaxRestartBackoff);
  ++slot->failures;
  Log(Level::kError, "a device has no trainer; trying again",
      {{"device", device_id}, {"reason", why}, {"failures", slot->failures}});
  if (slot->failures < kFailuresToWithdraw) return;
  LoseWaiting(*slot, {v1::Reason::TRAINER_LOST, absl::StrCat("no trainer could be started: ", why)}, false);
  if (std::exchange(slot->announced, false)) events_.emplace_back(DevicesChanged{});
}

void TrainerPool::LoseWaiting(Slot& slot, ExitReason reason, bool as_asked) {
  if (!slot.waiting.has_value()) return;
  events_.emplace_back(AttemptLost{slot.waiting->order.key, std::move(reason), as_asked});
  slot.waiting.reset();
}

}  // namespace mantissa::agent
