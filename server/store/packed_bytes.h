// Bytes written one after another, and read back without trusting them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mantissa::server {

void PutVarint(uint64_t value, std::string& bytes);
void PutText(std::string_view text, std::string& bytes);

inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1)); }

// Once something was not there, everything after it reads as 0 or empty and ok() stays false. Not thread-safe.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : left_(bytes) {}

  uint8_t Byte();
  uint64_t Varint();
  // At most `most`, or it is an error.
  uint64_t Count(uint64_t most);
  std::string_view Bytes(uint64_t count);
  std::string_view Text() { return Bytes(Varint()); }
  void Fail() {
    ok_ = false;
    left_ = {};
  }

  bool ok() const { return ok_; }
  bool at_end() const { return left_.empty(); }

 private:
  std::string_view left_;
  bool ok_ = true;
};

// Numbers of 64 bits that have something in common with their neighbours: the differences between them, of whatever
// order says it shortest, cut into planes of bytes (all first bytes, all second bytes, ...), each kept as it is or
// compressed, and left out where it is all zeros.
void PutNumbers(const std::vector<uint64_t>& numbers, std::string& bytes);
// `count` of them. Fails the reader where they are not there.
std::vector<uint64_t> TakeNumbers(uint64_t count, ByteReader& reader);

// With a checksum.
std::string Compress(std::string_view bytes);
// False for bytes that Compress did not make, or whose content is larger than `most`.
bool Decompress(std::string_view compressed, uint64_t most, std::string& bytes);

}  // namespace mantissa::server
