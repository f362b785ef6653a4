#include "worker/data/idx_file.h"

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "worker/data/data_size.h"

namespace mantissa::trainer {
namespace {

constexpr std::size_t kMagicBytes = 4;
constexpr unsigned char kUnsignedByte = 0x08;
constexpr std::size_t kMaxDimensions = 4;

unsigned char ByteAt(std::string_view bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }

absl::Status CheckMagic(std::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("the file is empty; give an IDX file");
  if (bytes.size() >= 2 && ByteAt(bytes, 0) == 0x1f && ByteAt(bytes, 1) == 0x8b) {
    return absl::InvalidArgumentError("the file is compressed with gzip; unpack it first (gunzip)");
  }
  if (bytes.size() < kMagicBytes || bytes[0] != 0 || bytes[1] != 0) {
    return absl::InvalidArgumentError("the file does not begin like an IDX file (00 00 08 ...); give an IDX file");
  }
  if (ByteAt(bytes, 2) != kUnsignedByte) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the elements are of IDX type 0x%02x; only unsigned bytes (0x08) are read, so convert the file",
                        ByteAt(bytes, 2)));
  }
  if (bytes[3] == 0 || ByteAt(bytes, 3) > kMaxDimensions) {
    return absl::InvalidArgumentError(absl::StrCat("the header says ", static_cast<int>(ByteAt(bytes, 3)),
                                                   " dimensions; 1 to ", kMaxDimensions, " are read"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<IdxArray> ParseIdx(std::string_view bytes) {
  if (absl::Status magic = CheckMagic(bytes); !magic.ok()) return magic;
  const std::size_t dimensions = ByteAt(bytes, 3);
  const std::size_t header = kMagicBytes + 4 * dimensions;
  if (bytes.size() < header) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file is cut off inside its header: ", bytes.size(), " bytes of ", header, "; copy it again"));
  }
  IdxArray array;
  std::int64_t elements = 1;
  for (std::size_t d = 0; d < dimensions; ++d) {
    std::int64_t size = 0;
    for (std::size_t i = 0; i < 4; ++i) size = size << 8 | ByteAt(bytes, kMagicBytes + 4 * d + i);
    array.sizes.push_back(size);
    elements = SaturatingProduct(elements, size);
  }
  const std::string sizes = absl::StrJoin(array.sizes, " x ");
  if (elements == 0) {
    return absl::InvalidArgumentError(absl::StrCat("the file holds no elements (", sizes, "); give one with data"));
  }
  const auto have = static_cast<std::int64_t>(bytes.size() - header);
  if (have != elements) {
    const std::string announced = elements == kSaturated ? "more bytes than can be" : absl::StrCat(elements, " bytes");
    return absl::InvalidArgumentError(absl::StrCat(have < elements ? "the file is truncated" : "the file is too long",
                                                   ": its header (", sizes, ") announces ", announced, " and ", have,
                                                   " follow; copy it again"));
  }
  array.elements = bytes.substr(header);
  return array;
}

}  // namespace mantissa::trainer
