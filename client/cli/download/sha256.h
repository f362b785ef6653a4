// SHA-256 of bytes as they come.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace mantissa::cli {

// Not thread-safe.
class Sha256 {
 public:
  Sha256();

  void Add(std::string_view bytes);
  // Lower-case hexadecimal. Nothing can be added afterwards.
  std::string Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace mantissa::cli
