// What a scrape of the server's metrics says, for tests.
#pragma once

#include <string>

#include "prometheus/text_serializer.h"

#include "server/metrics/server_metrics.h"

namespace mantissa::server {

inline std::string TextOf(const ServerMetrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.registry->Collect());
}

// How many lines have this text in them.
inline int LinesWith(const std::string& text, const std::string& part) {
  int lines = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, text.find('\n', at))) ++lines;
  return lines;
}

}  // namespace mantissa::server
