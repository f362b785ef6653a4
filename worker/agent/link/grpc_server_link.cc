#include "worker/agent/link/grpc_server_link.h"

#include <utility>

#include "grpc/support/time.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/client_callback.h"

namespace mantissa::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kUploadDeadline{std::chrono::minutes(10)};

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// From now, by the clock that nobody sets.
gpr_timespec After(milliseconds wait) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(wait.count(), GPR_TIMESPAN));
}

absl::Status ShutDown() { return absl::CancelledError("the worker is stopping"); }

constexpr unsigned kReloadSeconds = 1;

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const process::TlsFiles& files) {
  if (files.ca.empty()) return grpc::InsecureChannelCredentials();
  namespace tls = grpc::experimental;
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<tls::FileWatcherCertificateProvider>(files.key, files.certificate, files.ca, kReloadSeconds));
  options.watch_root_certs();
  if (!files.certificate.empty()) options.watch_identity_key_cert_pairs();
  return tls::TlsCredentials(options);
}

// Dead peers are found by pings, reconnecting is quick; both measured against a partition of a minute.
std::shared_ptr<v1::WorkerService::Stub> MakeStub(const std::string& address, const std::string& server_name,
                                                  const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);  // in fact the time that one connect may take
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);     // else a new channel would take over the old connection
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!server_name.empty()) arguments.SetString(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, server_name);
  // Of several servers (ipv4:a:port,b:port) one is active, and only that one says it is ready.
  if (address.starts_with("ipv4:") || address.starts_with("ipv6:") || address.starts_with("dns:")) {
    arguments.SetServiceConfigJSON(
        R"({"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"mantissa.v1.JobService"}})");
  }
  return v1::WorkerService::NewStub(grpc::CreateCustomChannel(address, credentials, arguments));
}

// What a unary call needs until it is answered.
template <class Request, class Response>
struct UnaryCall {
  grpc::ClientContext context;
  Request request;
  Response response;
};

// `start(call, on_answer)` begins it.
template <class Request, class Response, class Start>
void CallUnary(const Request& request, milliseconds deadline, OpenCalls& calls,
               std::function<void(absl::StatusOr<Response>)> done, Start start) {
  auto call = std::make_shared<UnaryCall<Request, Response>>();
  if (!calls.Add(&call->context)) return done(ShutDown());
  call->context.set_deadline(After(deadline));
  call->request = request;
  UnaryCall<Request, Response>& begun = *call;
  start(begun, [&calls, call = std::move(call), done = std::move(done)](const grpc::Status& status) mutable {
    if (status.ok()) {
      done(std::move(call->response));
    } else {
      done(FromGrpc(status));
    }
    calls.Remove(&call->context);
    call.reset();  // see Note [Contexts and channels]
    calls.Gone();
  });
}

// What a stream's two owners share: the handle that the agent holds, and gRPC until OnDone.
template <class Request, class Response>
class Reactor final : public grpc::ClientBidiReactor<Request, Response> {
 public:
  Reactor(StreamEvents<Response> events, OpenCalls& calls) : events_(std::move(events)), calls_(calls) {}

  grpc::ClientContext& context() { return context_; }

  void Begin(std::shared_ptr<Reactor> self) {
    self_ = std::move(self);
    this->AddHold();  // the agent writes from outside of reactions, until the handle is let go
    this->StartRead(&response_);
    this->StartCall();
  }

  void Write(const Request& request) {
    process::MutexLock lock(mutex_);
    if (released_) return;  // the stream has ended, and OnDone may have come: gRPC takes no more operations
    request_ = request;
    this->StartWrite(&request_);
  }

  // The agent wants no more of it.
  void LetGo() {
    context_.TryCancel();
    Release();
  }

  void OnWriteDone(bool ok) override {
    if (ok) events_.written();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Release();  // the end of the stream; the status comes in OnDone
    events_.received(std::move(response_));
    response_.Clear();
    this->StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    const absl::Status end = FromGrpc(status);
    events_.closed(end.ok() ? absl::UnavailableError("the server ended the stream") : end);
    OpenCalls& calls = calls_;
    calls.Remove(&context_);
    // With the last reference this object and its context go; see Note [Contexts and channels].
    std::shared_ptr<Reactor> self = std::move(self_);
    self.reset();
    calls.Gone();
  }

 private:
  void Release() {
    {
      process::MutexLock lock(mutex_);
      if (released_) return;
      released_ = true;
    }
    this->RemoveHold();
  }

  const StreamEvents<Response> events_;
  OpenCalls& calls_;
  grpc::ClientContext context_;
  Request request_;
  Response response_;
  process::Mutex mutex_;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<Reactor> self_;
};

template <class Request, class Response>
class StreamHandle final : public Stream<Request> {
 public:
  explicit StreamHandle(std::shared_ptr<Reactor<Request, Response>> reactor) : reactor_(std::move(reactor)) {}
  ~StreamHandle() override { reactor_->LetGo(); }
  void Write(const Request& request) override { reactor_->Write(request); }

 private:
  const std::shared_ptr<Reactor<Request, Response>> reactor_;
};

// The stream of a link that is shut down.
template <class Request>
class DeadStream final : public Stream<Request> {
 public:
  void Write(const Request&) override {}
};

template <class Request, class Response, class Open>
std::unique_ptr<Stream<Request>> OpenStream(StreamEvents<Response> events, OpenCalls& calls, Open open) {
  auto reactor = std::make_shared<Reactor<Request, Response>>(events, calls);
  if (!calls.Add(&reactor->context())) {
    events.closed(ShutDown());
    return std::make_unique<DeadStream<Request>>();
  }
  open(&reactor->context(), reactor.get());
  reactor->Begin(reactor);
  return std::make_unique<StreamHandle<Request, Response>>(std::move(reactor));
}

}  // namespace

bool OpenCalls::Add(grpc::ClientContext* context) {
  process::MutexLock lock(mutex_);
  if (closed_) return false;
  contexts_.insert(context);
  ++open_;
  return true;
}

void OpenCalls::Remove(grpc::ClientContext* context) {
  process::MutexLock lock(mutex_);
  contexts_.erase(context);
}

void OpenCalls::Gone() {
  process::MutexLock lock(mutex_);
  --open_;
  all_gone_.NotifyAll();
}

void OpenCalls::CancelAll() {
  process::MutexLock lock(mutex_);
  closed_ = true;
  // Under the lock, so that none is removed and freed meanwhile; TryCancel calls nobody back on this thread.
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
  while (open_ > 0) all_gone_.Wait(mutex_);
}

GrpcServerLink::GrpcServerLink(std::string address, const process::TlsFiles& tls, std::string server_name)
    : address_(std::move(address)),
      server_name_(std::move(server_name)),
      credentials_(MakeCredentials(tls)),
      stub_(MakeStub(address_, server_name_, credentials_)) {}

void GrpcServerLink::Synchronize(const v1::SynchronizeRequest& request, milliseconds deadline, SyncDone done) {
  CallUnary<v1::SynchronizeRequest, v1::SynchronizeResponse>(
      request, deadline, calls_, std::move(done), [this](auto& call, auto on_answer) {
        Stub()->async()->Synchronize(&call.context, &call.request, &call.response, std::move(on_answer));
      });
}

void GrpcServerLink::CommitCheckpoint(const v1::CommitCheckpointRequest& request, milliseconds deadline,
                                      CommitDone done) {
  CallUnary<v1::CommitCheckpointRequest, v1::CommitCheckpointResponse>(
      request, deadline, calls_, std::move(done), [this](auto& call, auto on_answer) {
        Stub()->async()->CommitCheckpoint(&call.context, &call.request, &call.response, std::move(on_answer));
      });
}

std::unique_ptr<TelemetryStream> GrpcServerLink::OpenTelemetry(StreamEvents<v1::PublishTelemetryResponse> events) {
  return OpenStream<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse>(
      std::move(events), calls_,
      [this](auto* context, auto* reactor) { Stub()->async()->PublishTelemetry(context, reactor); });
}

std::unique_ptr<LogsStream> GrpcServerLink::OpenLogs(StreamEvents<v1::PublishLogsResponse> events) {
  return OpenStream<v1::PublishLogsRequest, v1::PublishLogsResponse>(
      std::move(events), calls_,
      [this](auto* context, auto* reactor) { Stub()->async()->PublishLogs(context, reactor); });
}

absl::Status GrpcServerLink::UploadArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact,
                                            const ChunkSource& next) {
  grpc::ClientContext context;
  if (!calls_.Add(&context)) return ShutDown();
  context.set_deadline(After(kUploadDeadline));
  v1::UploadArtifactResponse response;
  std::unique_ptr<grpc::ClientWriter<v1::UploadArtifactRequest>> writer = Stub()->UploadArtifact(&context, &response);
  absl::Status read = absl::OkStatus();
  v1::UploadArtifactRequest request;
  *request.mutable_ref() = ref;
  *request.mutable_artifact() = artifact;
  while (writer->Write(request)) {
    absl::StatusOr<std::string> chunk = next();
    if (!chunk.ok()) {
      read = chunk.status();
      context.TryCancel();  // what has gone out so far must not pass for the file
      break;
    }
    if (chunk->empty()) break;
    request.Clear();
    request.set_data(std::move(*chunk));
  }
  writer->WritesDone();
  const absl::Status sent = FromGrpc(writer->Finish());
  calls_.Remove(&context);
  calls_.Gone();  // no callback thread, so the context may outlive this
  return read.ok() ? sent : read;
}

void GrpcServerLink::Renew() {
  std::shared_ptr<v1::WorkerService::Stub> fresh = MakeStub(address_, server_name_, credentials_);
  process::MutexLock lock(mutex_);
  stub_ = std::move(fresh);
}

std::shared_ptr<v1::WorkerService::Stub> GrpcServerLink::Stub() {
  process::MutexLock lock(mutex_);
  return stub_;
}

}  // namespace mantissa::agent
