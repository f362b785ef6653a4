// An HTTP server that answers what a test tells it to, or misbehaves.
#pragma once

#include <arpa/inet.h>
#include <deque>
#include <functional>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"

#include "process/file_descriptor.h"
#include "process/mutex.h"

namespace mantissa::agent {

// One connection after another, one request each, on a free port of the loopback. Thread-safe.
class ScriptedHttpServer {
 public:
  struct Request {
    std::string line;  // `POST /api HTTP/1.1`
    std::string headers;
    std::string body;
  };
  // Writes to the connection, which is closed after it.
  using Answer = std::function<void(int connection, const Request& request)>;

  ScriptedHttpServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_.get(), 8);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    uri_ = absl::StrCat("http://127.0.0.1:", ntohs(address.sin_port));
    thread_ = std::thread([this] { Serve(); });
  }
  ~ScriptedHttpServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  const std::string& uri() const { return uri_; }

  // Answers one request; the last one stays.
  void Then(Answer answer) {
    process::MutexLock lock(mutex_);
    answers_.push_back(std::move(answer));
  }
  static Answer Says(int code, const std::string& body, const std::string& headers = "") {
    return [=](int connection, const Request&) {
      Write(connection, absl::StrCat("HTTP/1.1 ", code, " Text\r\nContent-Length: ", body.size(), "\r\n", headers,
                                     "Connection: close\r\n\r\n", body));
    };
  }
  static bool Write(int connection, const std::string& bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t wrote = ::send(connection, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (wrote <= 0) return false;
      done += static_cast<std::size_t>(wrote);
    }
    return true;
  }

  std::vector<Request> requests() {
    process::MutexLock lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    while (true) {
      const process::FileDescriptor connection(::accept(listener_.get(), nullptr, nullptr));
      if (!connection.valid()) return;
      Request request;
      if (!Read(connection.get(), request)) continue;
      Answer answer;
      {
        process::MutexLock lock(mutex_);
        requests_.push_back(request);
        answer = answers_.front();
        if (answers_.size() > 1) answers_.pop_front();
      }
      answer(connection.get(), request);
    }
  }

  static bool Read(int connection, Request& request) {
    std::string bytes;
    std::size_t head = std::string::npos, length = 0;
    while (head == std::string::npos || bytes.size() < head + 4 + length) {
      char buffer[65536];
      const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
      if (got <= 0) return false;
      bytes.append(buffer, static_cast<std::size_t>(got));
      if (head != std::string::npos) continue;
      head = bytes.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const std::size_t at = bytes.find("Content-Length: ");
      if (at != std::string::npos && at < head) length = std::stoul(bytes.substr(at + 16));
    }
    request.line = bytes.substr(0, bytes.find("\r\n"));
    request.headers = bytes.substr(0, head);
    request.body = bytes.substr(head + 4);
    return true;
  }

  const process::FileDescriptor listener_;
  std::string uri_;
  process::Mutex mutex_;
  std::deque<Answer> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mantissa::agent
