#include "worker/agent/exporters/http_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include <curl/curl.h>

namespace mantissa::agent {
namespace {

struct Received {
  std::string body;
  std::size_t most;
};

std::size_t Receive(char* data, std::size_t, std::size_t size, void* to) {
  Received& received = *static_cast<Received*>(to);
  if (received.body.size() + size > received.most) return 0;  // which ends the call
  received.body.append(data, size);
  return size;
}

int IsAborted(void* flag, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<std::atomic<bool>*>(flag)->load() ? 1 : 0;
}

}  // namespace

struct HttpClient::Handle {
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
};

HttpClient::HttpClient(std::string base, HttpOptions options)
    : base_(std::move(base)), options_(std::move(options)), handle_(std::make_unique<Handle>()) {
  // Thread-safe since 7.84, and once for the process.
  [[maybe_unused]] static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  handle_->easy = curl_easy_init();
  handle_->headers = curl_slist_append(handle_->headers, "Content-Type: application/json");
  handle_->headers = curl_slist_append(handle_->headers, "Expect:");  // no pause before a long body
  if (!options_.bearer_token.empty()) {
    handle_->headers =
        curl_slist_append(handle_->headers, absl::StrCat("Authorization: Bearer ", options_.bearer_token).c_str());
  }
}

HttpClient::~HttpClient() {
  curl_slist_free_all(handle_->headers);
  curl_easy_cleanup(handle_->easy);
}

absl::StatusOr<HttpAnswer> HttpClient::Get(const std::string& path) {
  if (handle_->easy == nullptr) return absl::UnavailableError("libcurl could not be started");
  curl_easy_reset(handle_->easy);
  return Perform(path);
}

absl::StatusOr<HttpAnswer> HttpClient::PostJson(const std::string& path, const std::string& body) {
  if (handle_->easy == nullptr) return absl::UnavailableError("libcurl could not be started");
  curl_easy_reset(handle_->easy);
  curl_easy_setopt(handle_->easy, CURLOPT_POST, 1L);
  curl_easy_setopt(handle_->easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(handle_->easy, CURLOPT_POSTFIELDS, body.c_str());
  return Perform(path);
}

absl::StatusOr<HttpAnswer> HttpClient::Perform(const std::string& path) {
  CURL* const easy = handle_->easy;
  Received received{"", options_.max_answer_bytes};
  curl_easy_setopt(easy, CURLOPT_URL, absl::StrCat(base_, path).c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, handle_->headers);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  if (options_.direct) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);  // other threads have their own signals
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout.count()));
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Receive);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &received);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &IsAborted);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &aborted_);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "mantissa-worker");
  if (aborted_) return absl::UnavailableError("the worker stops");
  const CURLcode done = curl_easy_perform(easy);
  if (done != CURLE_OK) {
    const char* const why = done == CURLE_WRITE_ERROR ? "its answer is too long" : curl_easy_strerror(done);
    return absl::UnavailableError(absl::StrCat(base_, ": ", why));
  }
  HttpAnswer answer;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.code);
  answer.body = std::move(received.body);
  return answer;
}

std::string HttpClient::Escaped(const std::string& value) const {
  char* const escaped = curl_easy_escape(handle_->easy, value.data(), static_cast<int>(value.size()));
  std::string text = escaped == nullptr ? "" : escaped;
  curl_free(escaped);
  return text;
}

}  // namespace mantissa::agent
