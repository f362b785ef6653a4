#include "server/rpc/access/credential_watch.h"

#include <chrono>
#include <utility>

#include "process/log.h"

namespace mantissa::server {
namespace {

constexpr std::chrono::seconds kInterval{1};

}  // namespace

CredentialWatch::CredentialWatch(process::TlsFiles files, std::shared_ptr<TokenTable> tokens,
                                 const process::Clock& clock, ServerMetrics& metrics)
    : tokens_(std::move(tokens)),
      clock_(clock),
      metrics_(metrics),
      certificate_(std::move(files),
                   "new connections may be refused until this is put right; those that are open go on") {
  LookAtCertificate();  // what it begins with: anything else is new
  thread_ = std::make_unique<process::RegularThread>([this] {
    LookAtCertificate();
    if (tokens_) LookAtTokens();
    return kInterval;
  });
}

void CredentialWatch::LookAtCertificate() {
  certificate_.Look(clock_.WallNow());
  const process::WallTime ends = certificate_.not_after();
  if (ends == process::WallTime::max()) return;
  metrics_.certificate_expiry.Set(std::chrono::duration<double>(ends.time_since_epoch()).count());
}

void CredentialWatch::LookAtTokens() {
  const uint64_t before = tokens_->version();
  const absl::Status loaded = tokens_->LoadIfChanged();
  if (!loaded.ok()) {
    const std::string problem(loaded.message());
    if (std::exchange(said_of_tokens_, problem) == problem) return;
    process::Log(process::Level::kError, problem, {{"consequence", "the tokens from before stay in force"}});
  } else if (tokens_->version() != before) {
    said_of_tokens_.clear();
    process::Log(process::Level::kInfo, "the tokens have been read again");
  }
}

}  // namespace mantissa::server
