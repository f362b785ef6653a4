// HTTP to one server.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace mantissa::agent {

struct HttpOptions {
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{20'000};            // of a whole call
  std::size_t max_answer_bytes = std::size_t{1} << 20;  // an answer that is longer is no answer
  std::string bearer_token = {};                        // empty: none. Never in an error or a log
  bool direct = false;                                  // past any proxy that the environment names
};

struct HttpAnswer {
  long code = 0;
  std::string body;
};

// Speaks http and https, and follows no redirection, so that neither a token nor a request goes where nobody sent it.
// One connection, kept. Thread-compatible, but for Abort.
class HttpClient {
 public:
  // `base` is `http[s]://host[:port][/path]`, without a slash at its end.
  HttpClient(std::string base, HttpOptions options);
  ~HttpClient();

  // UNAVAILABLE when there is no whole answer of a bounded size in time; any code is an answer.
  absl::StatusOr<HttpAnswer> Get(const std::string& path);
  absl::StatusOr<HttpAnswer> PostJson(const std::string& path, const std::string& body);

  // `value` as a part of a query.
  std::string Escaped(const std::string& value) const;

  // From any thread: a call under way fails soon, and so does every later one.
  void Abort() { aborted_ = true; }

 private:
  struct Handle;

  absl::StatusOr<HttpAnswer> Perform(const std::string& path);

  const std::string base_;
  const HttpOptions options_;
  std::atomic<bool> aborted_ = false;
  std::unique_ptr<Handle> handle_;
};

}  // namespace mantissa::agent
