#include "server/rpc/call/trace_context.h"

#include <algorithm>
#include <iterator>

namespace mantissa::server {
namespace {

// version "-" trace-id "-" parent-id "-" trace-flags
constexpr size_t kTraceIdAt = 3, kTraceIdSize = 32;
constexpr size_t kParentIdAt = 36, kParentIdSize = 16;
constexpr size_t kFlagsAt = 53, kSize = 55;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(std::string_view text) { return IsHex(text) && text.find_first_not_of('0') != std::string_view::npos; }

}  // namespace

std::string TraceIdIn(std::string_view traceparent) {
  if (traceparent.size() < kSize) return "";
  const std::string_view version = traceparent.substr(0, 2);
  if (!IsHex(version) || version == "ff") return "";
  // Later versions may say more behind what is fixed.
  if (traceparent.size() > kSize && (version == "00" || traceparent[kSize] != '-')) return "";
  for (const size_t dash : {kTraceIdAt - 1, kParentIdAt - 1, kFlagsAt - 1}) {
    if (traceparent[dash] != '-') return "";
  }
  const std::string_view trace_id = traceparent.substr(kTraceIdAt, kTraceIdSize);
  if (!IsId(trace_id) || !IsId(traceparent.substr(kParentIdAt, kParentIdSize))) return "";
  return IsHex(traceparent.substr(kFlagsAt, kSize - kFlagsAt)) ? std::string(trace_id) : "";
}

std::string CallersTraceId(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto [first, last] = metadata.equal_range("traceparent");
  if (first == last || std::next(first) != last) return "";
  return TraceIdIn({first->second.data(), first->second.size()});
}

}  // namespace mantissa::server
