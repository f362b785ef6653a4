#include "server/store/packed_bytes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <zstd.h>

namespace mantissa::server {
namespace {

constexpr int kPlanes = 8;
constexpr int kPlaneLevel = 3;
// What it packs is noise or packed already, but for names and bits.
constexpr int kOuterLevel = 3;

// What becomes of a number before it is cut into bytes.
enum class Transform : uint8_t { kAsIs, kDelta, kDeltaTwice, kDeltaThrice, kXor, kCount };
enum class Plane : uint8_t { kRaw, kSame, kCompressed };

std::vector<uint64_t> Forth(std::vector<uint64_t> numbers, Transform transform) {
  const size_t count = numbers.size();
  if (transform == Transform::kXor) {
    for (size_t i = count; i-- > 1;) numbers[i] ^= numbers[i - 1];
    return numbers;
  }
  for (int order = 0; order < static_cast<int>(transform); ++order) {
    for (size_t i = count; i-- > 1;) numbers[i] -= numbers[i - 1];
  }
  if (transform == Transform::kAsIs) return numbers;
  for (uint64_t& number : numbers) number = ZigZag(static_cast<int64_t>(number));
  return numbers;
}

void Back(std::vector<uint64_t>& numbers, Transform transform) {
  const size_t count = numbers.size();
  if (transform == Transform::kXor) {
    for (size_t i = 1; i < count; ++i) numbers[i] ^= numbers[i - 1];
    return;
  }
  if (transform == Transform::kAsIs) return;
  for (uint64_t& number : numbers) number = static_cast<uint64_t>(UnZigZag(number));
  for (int order = 0; order < static_cast<int>(transform); ++order) {
    for (size_t i = 1; i < count; ++i) numbers[i] += numbers[i - 1];
  }
}

uint8_t ByteOf(uint64_t number, int plane) { return static_cast<uint8_t>(number >> (8 * plane)); }

// About how many bits the planes take, by how often each byte is in them.
double EstimatedBits(const std::vector<uint64_t>& numbers) {
  std::array<std::array<uint32_t, 256>, kPlanes> counts{};
  for (const uint64_t number : numbers) {
    for (int plane = 0; plane < kPlanes; ++plane) ++counts[plane][ByteOf(number, plane)];
  }
  const double all = static_cast<double>(numbers.size());
  double bits = 0;
  for (const auto& plane : counts) {
    for (const uint32_t count : plane) {
      if (count > 0) bits -= count * std::log2(count / all);
    }
  }
  return bits;
}

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// Its tables are a hundred kilobytes, which are not to be made anew for every few kilobytes of a plane.
ZSTD_DCtx* Context() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  return context.get();
}

void PutPlane(const std::string& plane, std::string& bytes) {
  if (std::all_of(plane.begin(), plane.end(), [&](char byte) { return byte == plane[0]; })) {
    bytes.push_back(static_cast<char>(Plane::kSame));
    bytes.push_back(plane[0]);
    return;
  }
  std::string packed(ZSTD_compressBound(plane.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), plane.data(), plane.size(), kPlaneLevel);
  if (ZSTD_isError(size) || size + 2 >= plane.size()) {
    bytes.push_back(static_cast<char>(Plane::kRaw));
    bytes += plane;
    return;
  }
  packed.resize(size);
  bytes.push_back(static_cast<char>(Plane::kCompressed));
  PutText(packed, bytes);
}

void TakePlane(int plane, ByteReader& reader, std::string& scratch, std::vector<uint64_t>& numbers) {
  const auto add = [&](std::string_view bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      numbers[i] |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * plane);
    }
  };
  switch (static_cast<Plane>(reader.Byte())) {
    case Plane::kRaw:
      return add(reader.Bytes(numbers.size()));
    case Plane::kSame:
      scratch.assign(numbers.size(), static_cast<char>(reader.Byte()));
      return add(scratch);
    case Plane::kCompressed: {
      const std::string_view packed = reader.Text();
      scratch.resize(numbers.size());
      const size_t size = ZSTD_decompressDCtx(Context(), scratch.data(), scratch.size(), packed.data(), packed.size());
      if (ZSTD_isError(size) || size != scratch.size()) return reader.Fail();
      return add(scratch);
    }
  }
  reader.Fail();
}

}  // namespace

void PutVarint(uint64_t value, std::string& bytes) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
}

void PutText(std::string_view text, std::string& bytes) {
  PutVarint(text.size(), bytes);
  bytes += text;
}

uint8_t ByteReader::Byte() {
  const std::string_view byte = Bytes(1);
  return byte.empty() ? 0 : static_cast<uint8_t>(byte[0]);
}

uint64_t ByteReader::Varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = Byte();
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  Fail();
  return 0;
}

uint64_t ByteReader::Count(uint64_t most) {
  const uint64_t count = Varint();
  if (count <= most) return count;
  Fail();
  return 0;
}

std::string_view ByteReader::Bytes(uint64_t count) {
  if (count > left_.size()) {
    Fail();
    return {};
  }
  const std::string_view bytes = left_.substr(0, count);
  left_.remove_prefix(count);
  return bytes;
}

void PutNumbers(const std::vector<uint64_t>& numbers, std::string& bytes) {
  if (numbers.empty()) return;
  Transform best = Transform::kAsIs;
  std::vector<uint64_t> shortest;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < static_cast<int>(Transform::kCount); ++i) {
    const auto transform = static_cast<Transform>(i);
    std::vector<uint64_t> transformed = Forth(numbers, transform);
    const double bits = EstimatedBits(transformed);
    if (bits >= least) continue;
    least = bits;
    best = transform;
    shortest = std::move(transformed);
  }
  uint64_t any = 0;
  for (const uint64_t number : shortest) any |= number;
  uint8_t planes = 0;
  for (int plane = 0; plane < kPlanes; ++plane) planes |= static_cast<uint8_t>((ByteOf(any, plane) != 0) << plane);
  bytes.push_back(static_cast<char>(best));
  bytes.push_back(static_cast<char>(planes));
  std::string cut(shortest.size(), '\0');
  for (int plane = 0; plane < kPlanes; ++plane) {
    if ((planes >> plane & 1) == 0) continue;
    for (size_t i = 0; i < shortest.size(); ++i) cut[i] = static_cast<char>(ByteOf(shortest[i], plane));
    PutPlane(cut, bytes);
  }
}

std::vector<uint64_t> TakeNumbers(uint64_t count, ByteReader& reader) {
  std::vector<uint64_t> numbers(count);
  if (count == 0) return numbers;
  const uint8_t transform = reader.Byte(), planes = reader.Byte();
  if (transform >= static_cast<uint8_t>(Transform::kCount)) reader.Fail();
  std::string scratch;
  for (int plane = 0; plane < kPlanes && reader.ok(); ++plane) {
    if ((planes >> plane & 1) != 0) TakePlane(plane, reader, scratch, numbers);
  }
  if (reader.ok()) Back(numbers, static_cast<Transform>(transform));
  return numbers;
}

std::string Compress(std::string_view bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kOuterLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  packed.resize(ZSTD_compress2(context.get(), packed.data(), packed.size(), bytes.data(), bytes.size()));
  return packed;
}

bool Decompress(std::string_view compressed, uint64_t most, std::string& bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(compressed.data(), compressed.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > most) return false;
  bytes.resize(size);
  const size_t read = ZSTD_decompressDCtx(Context(), bytes.data(), bytes.size(), compressed.data(), compressed.size());
  return !ZSTD_isError(read) && read == size;
}

}  // namespace mantissa::server
