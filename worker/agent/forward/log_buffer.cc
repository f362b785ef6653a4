#include "worker/agent/forward/log_buffer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace mantissa::agent {

void LogBuffer::Append(std::string_view bytes) {
  pending_.append(bytes);
  if (pending_.size() > max_bytes_) DropOldest();
}

void LogBuffer::Acknowledge(std::int64_t durable_through) {
  const auto stored =
      static_cast<std::size_t>(std::clamp<std::int64_t>(durable_through - base_, 0, static_cast<std::int64_t>(sent_)));
  pending_.erase(0, stored);
  sent_ -= stored;
  base_ += static_cast<std::int64_t>(stored);
}

void LogBuffer::Rewind(std::int64_t durable_through) {
  Acknowledge(durable_through);
  // Whatever is left has no offset any more: it goes where the server goes on.
  base_ = durable_through;
  if (sent_ > 0) notice_bytes_ = 0;
  sent_ = 0;
}

LogBuffer::Chunk LogBuffer::Take(std::size_t max_bytes) {
  Chunk chunk{base_ + static_cast<std::int64_t>(sent_), pending_.substr(sent_, max_bytes)};
  sent_ += chunk.bytes.size();
  if (!chunk.bytes.empty()) {
    notice_bytes_ = 0;
    dropped_ = 0;
  }
  return chunk;
}

void LogBuffer::DropOldest() {
  pending_.erase(sent_, notice_bytes_);
  // Well below the bound, so that it is done rarely; up to a whole line, so that what stays can be read.
  const std::size_t excess = pending_.size() - std::min(pending_.size(), max_bytes_ / 4 * 3);
  std::size_t end = std::min(sent_ + excess, pending_.size());
  const std::size_t line = pending_.find('\n', end);
  if (line != std::string::npos && line - end < 4096) end = line + 1;
  dropped_ += end - sent_;
  const std::string notice = absl::StrCat("[", dropped_, " bytes of output dropped: the server could not take them]\n");
  pending_.replace(sent_, end - sent_, notice);
  notice_bytes_ = notice.size();
}

}  // namespace mantissa::agent
