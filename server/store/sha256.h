// SHA-256 of bytes that come in pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mantissa::server {

// Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();

  void Update(std::string_view data);
  // Lower-case hexadecimal, of everything so far. Once.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace mantissa::server
