// Output of a trainer that the server has not yet stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mantissa::agent {

// Bytes of one stream of one attempt, in order. Bounded: beyond the bound the oldest bytes that were never sent give
// way to a line that says how many they were. Offsets belong to bytes only once they are sent, so the stream that the
// server sees has no hole. Not thread-safe.
class LogBuffer {
 public:
  explicit LogBuffer(std::size_t max_bytes) : max_bytes_(max_bytes) {}

  void Append(std::string_view bytes);

  // The server has stored everything before this offset.
  void Acknowledge(std::int64_t durable_through);

  // A new stream: the server goes on at this offset.
  void Rewind(std::int64_t durable_through);

  struct Chunk {
    std::int64_t offset = 0;
    std::string bytes;
  };
  // The next bytes to send; they count as sent from here on. Empty: nothing is left.
  Chunk Take(std::size_t max_bytes);

  std::size_t unsent_bytes() const { return pending_.size() - sent_; }
  std::size_t sent_bytes() const { return sent_; }
  bool empty() const { return pending_.empty(); }

 private:
  void DropOldest();

  const std::size_t max_bytes_;
  std::int64_t base_ = 0;  // offset of pending_[0]
  std::string pending_;
  std::size_t sent_ = 0;          // of pending_, from its front
  std::size_t notice_bytes_ = 0;  // length of the line about dropped bytes, at pending_[sent_]; 0: there is none
  std::uint64_t dropped_ = 0;     // bytes that line speaks of
};

}  // namespace mantissa::agent
