#include "worker/agent/exporters/event_record.h"

#include <array>
#include <bit>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"

namespace mantissa::agent {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

constexpr char kFileVersion[] = "brain.Event:2";

// Field numbers.
constexpr int kWallTime = 1, kStep = 2, kVersion = 3, kSummary = 5;
constexpr int kValue = 1;
constexpr int kTag = 1, kSimpleValue = 2;

constexpr std::array<std::uint32_t, 256> MakeCrcTable() {
  std::array<std::uint32_t, 256> table = {};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
    table[byte] = crc;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = MakeCrcTable();

template <typename Number>
void AppendLittleEndian(Number number, std::string& to) {
  for (std::size_t i = 0; i < sizeof number; ++i) to += static_cast<char>((number >> (8 * i)) & 0xFF);
}

std::uint32_t MaskedCrc(std::string_view bytes) { return std::rotr(Crc32c(bytes), 15) + 0xA282EAD8u; }

std::string Framed(const std::string& event) {
  std::string record;
  AppendLittleEndian(static_cast<std::uint64_t>(event.size()), record);
  AppendLittleEndian(MaskedCrc(record), record);
  record += event;
  AppendLittleEndian(MaskedCrc(event), record);
  return record;
}

// What `write` writes.
template <typename Write>
std::string Encoded(Write write) {
  std::string bytes;
  {
    StringOutputStream stream(&bytes);
    CodedOutputStream out(&stream);
    write(out);
  }
  return bytes;
}

void WriteHead(std::int64_t time_unix_nanos, std::int64_t step, CodedOutputStream& out) {
  WireFormatLite::WriteDouble(kWallTime, static_cast<double>(time_unix_nanos) / 1e9, &out);
  if (step != 0) WireFormatLite::WriteInt64(kStep, step, &out);
}

}  // namespace

std::uint32_t Crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) crc = kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::string FileVersionRecord(std::int64_t time_unix_nanos) {
  return Framed(Encoded([&](CodedOutputStream& out) {
    WriteHead(time_unix_nanos, 0, out);
    WireFormatLite::WriteString(kVersion, kFileVersion, &out);
  }));
}

std::string ScalarsRecord(const ExportPoint& point) {
  const std::string summary = Encoded([&](CodedOutputStream& out) {
    for (const Scalar& scalar : point.scalars) {
      const std::string value = Encoded([&](CodedOutputStream& inner) {
        WireFormatLite::WriteString(kTag, scalar.tag, &inner);
        WireFormatLite::WriteFloat(kSimpleValue, static_cast<float>(scalar.value), &inner);
      });
      WireFormatLite::WriteBytes(kValue, value, &out);
    }
  });
  return Framed(Encoded([&](CodedOutputStream& out) {
    WriteHead(point.time_unix_nanos, point.step, out);
    WireFormatLite::WriteBytes(kSummary, summary, &out);
  }));
}

}  // namespace mantissa::agent
