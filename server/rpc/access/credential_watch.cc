#include "server/rpc/access/credential_watch.h"

#include <utility>

#include "process/log.h"

namespace mantissa::server {
namespace {

constexpr std::chrono::seconds kInterval{1};

}  // namespace

CredentialWatch::CredentialWatch(process::TlsFiles files, std::shared_ptr<TokenTable> tokens,
                                 const process::Clock& clock, ServerMetrics& metrics)
    : files_(std::move(files)), tokens_(std::move(tokens)), clock_(clock), metrics_(metrics) {
  Look();  // what it begins with: anything else is new
  thread_ = std::thread([this] { Run(); });
}

CredentialWatch::~CredentialWatch() {
  {
    process::MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void CredentialWatch::Run() {
  process::MutexLock lock(mutex_);
  while (!stopping_) {
    changed_.WaitFor(mutex_, kInterval);
    if (stopping_) return;
    mutex_.Unlock();
    Look();
    mutex_.Lock();
  }
}

void CredentialWatch::SayOnce(const std::string& problem, std::string& said, const char* consequence) const {
  if (problem == said) return;
  said = problem;
  if (!problem.empty()) process::Log(process::Level::kError, problem, {{"consequence", consequence}});
}

void CredentialWatch::Look() {
  if (!files_.certificate.empty()) {
    const absl::StatusOr<process::TlsPems> pems = process::ReadTlsFiles(files_, clock_.WallNow());
    SayOnce(pems.ok() ? "" : std::string(pems.status().message()), said_of_tls_,
            "new connections may be refused until this is put right; those that are open go on");
    if (pems.ok() && pems->certificate != shown_certificate_) {
      const bool first = shown_certificate_.empty();
      shown_certificate_ = pems->certificate;
      metrics_.certificate_expiry.Set(std::chrono::duration<double>(pems->not_after.time_since_epoch()).count());
      if (!first) process::Log(process::Level::kInfo, "a new TLS certificate is in use");
    }
  }
  if (tokens_) {
    const uint64_t before = tokens_->version();
    const absl::Status loaded = tokens_->LoadIfChanged();
    if (!loaded.ok()) {
      SayOnce(std::string(loaded.message()), said_of_tokens_, "the tokens from before stay in force");
    } else if (tokens_->version() != before) {
      said_of_tokens_.clear();
      process::Log(process::Level::kInfo, "the tokens have been read again");
    }
  }
}

}  // namespace mantissa::server
