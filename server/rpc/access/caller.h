#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mantissa::server {

// Who a call comes from, once it may be made. A value; thread-safe as such.
struct Caller {
  // Whose jobs it submits, and whose rate, streams and queue it draws on.
  std::string tenant;
  // Whose jobs it sees and changes; empty: everybody's.
  std::string reach;
  // The one worker that it may speak for, or the pool of those whose ids begin with that and a `-`; both empty: any.
  std::string worker_id;
  std::string worker_pool;
  // It may name another tenant.
  bool may_name_tenant = false;
  // Of a call that nobody had to sign.
  bool anyone = false;
  // The tenant that a call is about which can be about one only: a submit, a change of many.
  const std::string& Target() const { return reach.empty() ? tenant : reach; }

  bool SpeaksFor(std::string_view worker) const {
    if (!worker_pool.empty()) return worker.starts_with(worker_pool + "-");
    return worker_id.empty() || worker == worker_id;
  }

  // Of the token it came with; empty without one. `tokens_version`: when that was looked up (Access::StillHolds).
  std::string token_hash;
  uint64_t tokens_version = 0;
};

}  // namespace mantissa::server
