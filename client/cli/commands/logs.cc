#include "client/cli/commands/logs.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/rpc_failure.h"

namespace mantissa::cli {
namespace {

constexpr std::chrono::milliseconds kMaxBackoff{2000};
constexpr std::chrono::minutes kRetryFor{10};

// Bytes of a log may be cut inside a character, so only what is harmful by itself is replaced: control characters.
// Those of C1 are C2 80 to C2 9F in UTF-8, single bytes elsewhere. `before` is the last byte of the piece before this
// one.
std::string Harmless(std::string bytes, bool utf8, unsigned char& before) {
  for (char& c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool c1 = byte >= 0x80 && byte < 0xA0 && (!utf8 || before == 0xC2);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F || c1) c = '?';
    before = byte;
  }
  return bytes;
}

// Copies one call's bytes to stdout and moves `request` on behind them.
grpc::Status CopyLogs(const Context& context, v1::ReadLogsRequest& request, unsigned char& before) {
  const Console& console = context.console;
  grpc::ClientContext call;
  const auto reader = context.connection.jobs().ReadLogs(&call, request);
  v1::ReadLogsResponse response;
  while (reader->Read(&response)) {
    if (response.dropped_bytes() > 0 && response.offset() > request.offset()) {
      console.Note(absl::StrCat("(", response.dropped_bytes(), " bytes were dropped by the log's quota)"));
    }
    if (response.attempt() > 0) request.set_attempt(response.attempt());
    request.set_offset(response.offset() + static_cast<std::int64_t>(response.data().size()));
    console.out.Write(console.out_look.terminal ? Harmless(response.data(), console.utf8, before) : response.data());
    if (console.out.failed()) call.TryCancel();
  }
  return reader->Finish();
}

}  // namespace

int Logs(const Context& context, const LogsOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, options.job);
  if (!job.ok()) return console.Fail(job.status());
  v1::ReadLogsRequest request;
  request.set_job_id(job->id());
  request.set_attempt(options.attempt);
  request.set_stream(options.stream == "stdout" ? v1::LogStream::STDOUT : v1::LogStream::STDERR);
  request.set_offset(options.offset);
  request.set_follow(options.follow);
  std::chrono::milliseconds backoff{200};
  process::SteadyTime give_up = console.clock.Now() + kRetryFor;
  unsigned char last_byte = 0;
  while (true) {
    const std::int64_t before = request.offset();
    const grpc::Status status = CopyLogs(context, request, last_byte);
    if (console.out.failed()) return kExitError;
    if (status.ok()) return kExitOk;
    if (request.offset() > before) {
      backoff = std::chrono::milliseconds(200);
      give_up = console.clock.Now() + kRetryFor;
    }
    if (!options.follow || !IsTransient(DecodeFailure(status)) || console.clock.Now() >= give_up) {
      return console.Fail(context.connection.Explained(status));
    }
    std::this_thread::sleep_for(backoff);
    backoff = std::min(2 * backoff, kMaxBackoff);
  }
}

}  // namespace mantissa::cli
