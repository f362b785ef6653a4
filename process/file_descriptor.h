// Ownership of one open file descriptor.
#pragma once

#include <unistd.h>
#include <utility>

namespace mantissa::process {

// Closes its descriptor when it goes. A close whose error matters (a file just written) is done by hand through
// Release(). Not thread-safe.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.Release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = other.Release();
    }
    return *this;
  }
  ~FileDescriptor() { Close(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

  void Close() {
    if (valid()) ::close(Release());
  }

 private:
  int fd_ = -1;
};

}  // namespace mantissa::process
