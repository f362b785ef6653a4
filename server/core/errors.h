// Refusals that a caller tells apart by a reason, which travels to the client as ErrorInfo.reason.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mantissa::server {

inline constexpr std::string_view kLeaseLost = "LEASE_LOST";
inline constexpr std::string_view kSuperseded = "SUPERSEDED";
inline constexpr std::string_view kEtagMismatch = "ETAG_MISMATCH";
inline constexpr std::string_view kRequestIdReused = "REQUEST_ID_REUSED";
inline constexpr std::string_view kQueueFull = "QUEUE_FULL";
inline constexpr std::string_view kTenantQueueFull = "TENANT_QUEUE_FULL";
inline constexpr std::string_view kTelemetryHole = "TELEMETRY_HOLE";
inline constexpr std::string_view kCheckpointConflict = "CHECKPOINT_CONFLICT";
inline constexpr std::string_view kWrongState = "WRONG_STATE";
inline constexpr std::string_view kInUse = "IN_USE";

// UPPER_SNAKE, stable.
absl::Status ErrorWithReason(absl::StatusCode code, std::string_view reason, std::string_view message);

// At most `most_bytes` of a text and a mark. Cut between characters: strings of protobuf are UTF-8, and half a
// character is not.
std::string Shortened(std::string text, size_t most_bytes);

// Empty when the status has none.
std::string ReasonOf(const absl::Status& status);

}  // namespace mantissa::server
