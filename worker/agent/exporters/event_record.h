// The bytes of TensorBoard's event files. Pure.
//
// A file is a sequence of TFRecords (TensorFlow, tensorflow/core/lib/io/record_writer.h):
//   uint64 length, uint32 masked CRC-32C of those 8 bytes, `length` bytes, uint32 masked CRC-32C of them
// all little-endian, where masked(crc) = rotate_right(crc, 15) + 0xa282ead8. Each holds one Event in protobuf's wire
// format (tensorflow/core/util/event.proto, framework/summary.proto), of which this writes:
//   Event{double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5}
//   Summary{repeated Value value = 1}   Value{string tag = 1; float simple_value = 2}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "worker/agent/exporters/export_point.h"

namespace mantissa::agent {

// CRC-32C (Castagnoli), as RFC 3720 section B.4 has test vectors of it.
std::uint32_t Crc32c(std::string_view bytes);

// The first record of every file.
std::string FileVersionRecord(std::int64_t time_unix_nanos);

// One record with all scalars of the point, as float32.
std::string ScalarsRecord(const ExportPoint& point);

}  // namespace mantissa::agent
