// What clients and workers ask of the server, decided by its core: a world with a worker and a running job, and one
// request after another as the bytes say. The first byte of each is its kind, the next two its length.
//
// Ids and tokens that a request leaves empty are filled in with those of the world, so that one gets past the fences.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "proto/spec/defaults.h"
#include "proto/spec/features.h"
#include "proto/spec/validate.h"
#include "server/core/idempotency.h"
#include "server/core/scheduler.h"
#include "tests/fuzz/hang_guard.h"
#include "tests/fuzz/message_mutator.h"

namespace mantissa::fuzz {
namespace {

using server::Changes;
using server::Moment;
using server::Scheduler;

constexpr std::size_t kHeader = 3;
constexpr char kWorker[] = "ws-1";

enum class Kind : std::uint8_t { kSubmit, kUpdate, kSynchronize, kTelemetry, kCheckpoint, kArtifact, kCancel, kCount };

v1::JobSpec SmallSpec() {
  v1::JobSpec spec;
  spec.set_name("small");
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
  spec.mutable_training()->set_iterations(10);
  return spec;
}

v1::SynchronizeRequest SmallReport() {
  v1::SynchronizeRequest report;
  report.set_worker_id(kWorker);
  report.set_session_id("session");
  report.set_report_number(1);
  v1::Device& device = *report.add_devices();
  device.set_id("cpu-0");
  device.set_kind(v1::Device::CPU);
  device.set_cpu_threads(2);
  device.set_memory_bytes(std::int64_t{8} << 30);
  for (const auto mode : {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16}) {
    device.add_precisions(mode);
  }
  for (const std::string& feature : spec::BuiltFeatures()) report.add_features(feature);
  v1::Root& root = *report.add_roots();
  root.set_name("checkpoints");
  root.set_storage_id("s");
  root.set_writable(true);
  return report;
}

class World {
 public:
  World() : scheduler_(server::SchedulerOptions(), Ids()) {
    scheduler_.Load({}, now_);
    Report(SmallReport());
    Submit(SmallSpec(), "");
    const v1::SynchronizeResponse desired = scheduler_.DesiredState(kWorker, now_);
    Require(desired.attempts_size() == 1, "the world's job runs");
    ref_ = desired.attempts(0).ref();
  }

  void Ask(Kind kind, std::string_view bytes) {
    const auto parsed = [&bytes](auto& message) {
      return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
    };
    now_.steady += std::chrono::seconds(1);
    now_.wall += std::chrono::seconds(1);
    switch (kind) {
      case Kind::kSubmit: {
        v1::SubmitJobRequest request;
        if (parsed(request)) Submit(request.spec(), request.request_id());
        break;
      }
      case Kind::kUpdate: {
        v1::JobSpec spec = SmallSpec();
        v1::JobSpec given;
        if (!parsed(given)) break;
        spec.set_priority(given.priority());
        *spec.mutable_labels() = given.labels();
        *spec.mutable_retry() = given.retry();
        *spec.mutable_timeouts() = given.timeouts();
        if (!spec::ValidateJobSpec(spec).empty()) break;
        scheduler_.Update(ref_.job_id(), "", 1, spec, spec::ResolveDefaults(spec), now_, changes_)
            .status()
            .IgnoreError();
        break;
      }
      case Kind::kSynchronize: {
        v1::SynchronizeRequest request;
        if (parsed(request)) Report(std::move(request));
        break;
      }
      case Kind::kTelemetry: {
        v1::PublishTelemetryRequest request;
        if (!parsed(request)) break;
        Fill(*request.mutable_attempt());
        std::vector<v1::Segment> segments(request.segments().begin(), request.segments().end());
        scheduler_.AppendTelemetry(request.attempt(), std::move(segments), now_, changes_).status().IgnoreError();
        break;
      }
      case Kind::kCheckpoint: {
        v1::CommitCheckpointRequest request;
        if (!parsed(request)) break;
        Fill(*request.mutable_ref());
        scheduler_.CommitCheckpoint(request, now_, changes_).status().IgnoreError();
        break;
      }
      case Kind::kArtifact: {
        v1::UploadArtifactRequest request;
        if (!parsed(request)) break;
        Fill(*request.mutable_ref());
        if (scheduler_.CheckWanted(request.ref(), request.artifact()).ok()) {
          scheduler_.RecordArtifact(request.ref(), request.artifact(), now_, changes_).IgnoreError();
        }
        break;
      }
      case Kind::kCancel: {
        v1::CancelJobRequest request;
        if (!parsed(request)) break;
        const std::string job = request.job_id().empty() ? ref_.job_id() : request.job_id();
        scheduler_.Cancel(job, request.etag(), now_, changes_).status().IgnoreError();
        break;
      }
      case Kind::kCount:
        break;
    }
    Settle();
  }

 private:
  static server::IdSource Ids() {
    return {[made = 0](auto) mutable {
              std::string id = "01arz3ndektsv4rrffq69g5000";
              for (int rest = ++made, at = 25; rest > 0; rest /= 10, --at)
                id[static_cast<std::size_t>(at)] = static_cast<char>('0' + rest % 10);
              return id;
            },
            [] { return std::string(16, 't'); }};
  }

  void Fill(v1::AttemptRef& ref) const {
    if (ref.job_id().empty()) ref.set_job_id(ref_.job_id());
    if (ref.attempt() == 0) ref.set_attempt(ref_.attempt());
    if (ref.token().empty()) ref.set_token(ref_.token());
  }

  void Submit(const v1::JobSpec& spec, const std::string& request_id) {
    if (!spec::ValidateJobSpec(spec).empty()) return;
    scheduler_.Submit(spec, spec::ResolveDefaults(spec), "default", request_id, now_, changes_).status().IgnoreError();
    Settle();
  }

  void Report(v1::SynchronizeRequest request) {
    if (request.worker_id().empty()) request.set_worker_id(kWorker);
    if (request.session_id().empty()) request.set_session_id("session");
    if (request.report_number() == 0) request.set_report_number(++reports_);
    if (request.devices().empty()) *request.mutable_devices() = SmallReport().devices();
    if (request.features().empty()) *request.mutable_features() = SmallReport().features();
    for (v1::AttemptReport& attempt : *request.mutable_attempts()) Fill(*attempt.mutable_ref());
    const std::string worker = request.worker_id();
    if (scheduler_.Report(request, now_, changes_).ok()) scheduler_.DesiredState(worker, now_).SerializeAsString();
    Settle();
  }

  // What the commit thread does after each request, and what readers look at.
  void Settle() {
    scheduler_.Tick(now_, changes_);
    scheduler_.Place(now_, changes_);
    changes_ = Changes();
    for (const v1::Worker& worker : scheduler_.Workers(now_)) worker.SerializeAsString();
    scheduler_.Fleet(now_);
  }

  Moment now_{std::chrono::steady_clock::time_point(std::chrono::hours(1)),
              std::chrono::system_clock::time_point(std::chrono::hours(24 * 365 * 56))};
  Changes changes_;
  Scheduler scheduler_;
  v1::AttemptRef ref_;
  std::int64_t reports_ = 1;
};

// The requests in order: kind and bytes.
std::vector<std::pair<Kind, std::string>> Split(std::string_view input) {
  constexpr std::size_t kMost = 24;
  std::vector<std::pair<Kind, std::string>> requests;
  while (input.size() >= kHeader && requests.size() < kMost) {
    const auto byte = [&input](std::size_t i) { return static_cast<std::uint8_t>(input[i]); };
    const auto kind = static_cast<Kind>(byte(0) % static_cast<std::uint8_t>(Kind::kCount));
    const std::size_t size = std::min<std::size_t>(byte(1) | byte(2) << 8, input.size() - kHeader);
    requests.emplace_back(kind, input.substr(kHeader, size));
    input.remove_prefix(kHeader + size);
  }
  return requests;
}

std::unique_ptr<google::protobuf::Message> MessageOf(Kind kind) {
  switch (kind) {
    case Kind::kSubmit:
      return std::make_unique<v1::SubmitJobRequest>();
    case Kind::kUpdate:
      return std::make_unique<v1::JobSpec>();
    case Kind::kSynchronize:
      return std::make_unique<v1::SynchronizeRequest>();
    case Kind::kTelemetry:
      return std::make_unique<v1::PublishTelemetryRequest>();
    case Kind::kCheckpoint:
      return std::make_unique<v1::CommitCheckpointRequest>();
    case Kind::kArtifact:
      return std::make_unique<v1::UploadArtifactRequest>();
    default:
      return std::make_unique<v1::CancelJobRequest>();
  }
}

}  // namespace
}  // namespace mantissa::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  using namespace mantissa::fuzz;
  auto requests = Split({reinterpret_cast<const char*>(data), size});
  // Another request, one twice, one less, or a change of one.
  if (requests.empty() || seed % 8 == 0) {
    requests.emplace_back(static_cast<Kind>(seed / 8 % static_cast<unsigned>(Kind::kCount)), "");
  } else if (seed % 8 == 1) {
    requests.push_back(requests[seed / 8 % requests.size()]);
  } else if (seed % 8 == 2 && requests.size() > 1) {
    requests.erase(requests.begin() + seed / 8 % requests.size());
  }
  auto& [kind, bytes] = requests[seed / 64 % requests.size()];
  std::string room(4096, '\0');
  const std::size_t kept = std::min(bytes.size(), room.size());
  room.replace(0, kept, bytes, 0, kept);
  const std::unique_ptr<google::protobuf::Message> scratch = MessageOf(kind);
  room.resize(MutateMessage(*scratch, reinterpret_cast<std::uint8_t*>(room.data()), kept, room.size(), seed));
  bytes = std::move(room);
  std::string out;
  for (const auto& [each, text] : requests) {
    out += static_cast<char>(each);
    out += static_cast<char>(text.size() & 0xff);
    out += static_cast<char>(text.size() >> 8);
    out += text;
  }
  if (out.size() > max_size) return 0;
  out.copy(reinterpret_cast<char*>(data), out.size());
  return out.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa::fuzz;
  const HangGuard guard;
  World world;
  for (const auto& [kind, bytes] : Split({reinterpret_cast<const char*>(data), size})) world.Ask(kind, bytes);
  return 0;
}
