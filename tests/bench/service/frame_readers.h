// Many watchers of one job in one process, each as cheap as a reader can be: frames are counted by the range that they
// answer for, and not parsed.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>

namespace mantissa::bench {

// Entries that a frame answers for; 0 to -1 when none.
struct Covers {
  std::int64_t from = 0;
  std::int64_t to = -1;
};

// Dies of a frame whose covers don't go on where its watcher's frame before it ended. Thread-safe.
class FrameReaders {
 public:
  // Called for each frame with entries, from any thread, for one frame of a watcher at a time.
  using OnFrame = std::function<void(int watcher, const Covers&, const grpc::ByteBuffer&)>;

  // Watches `job_id` from the beginning, `count` times over `connections`.
  FrameReaders(const std::string& address, const std::string& job_id, int count, int connections, OnFrame on_frame);
  // The same watchers, who never read a word.
  static FrameReaders Stalled(const std::string& address, const std::string& job_id, int count, int connections);
  ~FrameReaders();  // ends the calls and waits for their ends
  FrameReaders(FrameReaders&&);

  // Over all of them.
  std::int64_t entries() const;
  std::int64_t frames() const;
  // The last sequence of the watcher who has the least.
  std::int64_t slowest() const;

 private:
  class Reader;
  FrameReaders(const std::string& address, const std::string& job_id, int count, int connections, OnFrame on_frame,
               bool reads);

  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<Reader>> readers_;
};

}  // namespace mantissa::bench
