#include "server/core/encoded_field.h"

#include <cstddef>
#include <cstdint>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace mantissa::server {

void AppendEncodedField(int number, const google::protobuf::MessageLite& message, std::string& bytes) {
  using google::protobuf::internal::WireFormatLite;
  using google::protobuf::io::CodedOutputStream;
  const uint32_t tag = WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  const auto size = static_cast<uint32_t>(message.ByteSizeLong());
  const size_t before = bytes.size();
  // To its size at once: a stream that appends doubles what it holds, and some of these strings live long.
  bytes.resize(before + CodedOutputStream::VarintSize32(tag) + CodedOutputStream::VarintSize32(size) + size);
  auto* at = reinterpret_cast<uint8_t*>(bytes.data() + before);
  at = CodedOutputStream::WriteTagToArray(tag, at);
  at = CodedOutputStream::WriteVarint32ToArray(size, at);
  message.SerializeWithCachedSizesToArray(at);
}

}  // namespace mantissa::server
