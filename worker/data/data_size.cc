#include "worker/data/data_size.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mantissa::trainer {

std::string BytesText(std::int64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " bytes");
  double size = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; size >= 1024 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  return absl::StrFormat("%.1f %s", size, kUnits[unit]);
}

absl::Status CheckDataSize(std::int64_t needed, std::int64_t limit, std::string_view field, std::string_view remedy) {
  if (needed <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(std::string(field), ": the data needs ", BytesText(needed),
                                                   " of memory and ", BytesText(limit), " are free; ",
                                                   std::string(remedy), " or use a machine with more memory"));
}

}  // namespace mantissa::trainer
