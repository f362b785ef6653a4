#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"

#include "mantissa/v1/worker_service.pb.h"
#include "process/alarm_clock.h"
#include "process/mutex.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/open_calls.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

class SynchronizeCall;

// The one call of each worker that hangs, and the clock by which they end. Thread-safe.
class SynchronizeCalls {
 public:
  // `call` takes the worker's place; who had it before, to be told.
  std::shared_ptr<SynchronizeCall> Replace(const std::string& worker_id, std::shared_ptr<SynchronizeCall> call);
  void Remove(const std::string& worker_id, const SynchronizeCall* call);
  process::AlarmClock& alarms() { return alarms_; }

 private:
  process::AlarmClock alarms_;
  process::Mutex mutex_;
  std::map<std::string, std::shared_ptr<SynchronizeCall>> calls_ ABSL_GUARDED_BY(mutex_);
};

// One Synchronize: the report is taken in; then the call hangs until what is desired of the worker is not what it has
// carried out, or its time is up, and is answered with the whole desired state. The state is read on the writer's
// thread and leaves after everything it rests on is durable.
//
// Owns itself until gRPC is done with it. Thread-safe.
class SynchronizeCall final : public grpc::ServerUnaryReactor,
                              public Wakeable,
                              public OpenCall,
                              public std::enable_shared_from_this<SynchronizeCall> {
 public:
  static SynchronizeCall* Start(Backend& backend, SynchronizeCalls& calls, const grpc::CallbackServerContext& context,
                                const v1::SynchronizeRequest* request, v1::SynchronizeResponse* response);
  SynchronizeCall(Backend& backend, SynchronizeCalls& calls, const v1::SynchronizeRequest* request,
                  v1::SynchronizeResponse* response)
      : backend_(backend), calls_(calls), request_(*request), response_(*response) {}

  void Wake() override;
  void End(const absl::Status& status) override;
  void OnCancel() override { End(absl::CancelledError("the client has gone")); }
  void OnDone() override;

 private:
  void Begin(std::shared_ptr<SynchronizeCall> self, const absl::Status& refusal);
  // On the writer's thread, as are the two below.
  // `unchanged`: the desired state, where the report says that it is carried out as it stands.
  void Reported(const absl::Status& status, const std::optional<v1::SynchronizeResponse>& unchanged);
  void Look();
  void Looked(const v1::SynchronizeResponse& desired, const absl::Status& status);
  // The command that was under way has ended; with a reply, or with nothing to say yet.
  void Rest(std::optional<absl::Status> reply);
  void SetAlarm(const v1::SynchronizeResponse& desired);
  void FinishCounted(const absl::Status& status);

  Backend& backend_;
  SynchronizeCalls& calls_;
  const v1::SynchronizeRequest& request_;  // gRPC's, until OnDone
  v1::SynchronizeResponse& response_;
  std::shared_ptr<SynchronizeCall> self_;
  std::optional<WakeSignal::Subscription> subscription_;
  std::optional<process::AlarmClock::Alarm> alarm_;

  process::Mutex mutex_;
  // A command is under way. Until it has ended the call is not finished, because the command reads the request.
  bool busy_ ABSL_GUARDED_BY(mutex_) = true;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;  // meanwhile
  bool due_ ABSL_GUARDED_BY(mutex_) = false;    // the alarm has rung
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);  // not OK: ends with this
};

}  // namespace mantissa::server
