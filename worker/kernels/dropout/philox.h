// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): four random words from a counter
// and a key, with no state, so that a draw depends on where it stands and on nothing that was drawn before.
#pragma once

#include <cstdint>

#include "worker/amp/host_device.h"

namespace mantissa::trainer {

struct Philox4 {
  std::uint32_t word[4];
};

MANTISSA_HOST_DEVICE inline Philox4 Philox(Philox4 counter, std::uint64_t key) {
  std::uint32_t low_key = static_cast<std::uint32_t>(key);
  std::uint32_t high_key = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter.word[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ low_key, static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ high_key, static_cast<std::uint32_t>(a)}};
    low_key += 0x9E3779B9;
    high_key += 0xBB67AE85;
  }
  return counter;
}

}  // namespace mantissa::trainer
