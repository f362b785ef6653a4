#include "worker/data/token_files.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>

#include "worker/data/data_size.h"
#include "worker/data/read_file.h"
#include "worker/data/token_dataset.h"
#include "worker/data/token_file.h"

namespace mantissa::trainer {
absl::StatusOr<std::unique_ptr<Dataset>> LoadTokens(const v1::Tokens& spec, std::int64_t context,
                                                    const process::Roots& roots, std::string_view field,
                                                    std::int64_t max_bytes) {
  std::vector<std::int32_t> tokens;
  const std::string path(field);
  for (int i = 0; i < spec.files_size(); ++i) {
    const std::string file_field = absl::StrCat(path, ".files[", i, "]");
    const auto held = static_cast<std::int64_t>(tokens.size() * sizeof(std::int32_t));
    const auto bytes = ReadRootedFile(roots, spec.files(i), file_field, max_bytes - held);
    if (!bytes.ok()) return bytes.status();
    // A token takes four bytes here, however many it has in the file; twice while they are moved to their last place.
    const std::int64_t needed = SaturatingProduct(SaturatingSum(held, SaturatingProduct(bytes->size(), 2)), 2);
    const absl::Status fits = CheckDataSize(needed, max_bytes, file_field, "use smaller files");
    if (!fits.ok()) return fits;
    const absl::Status read = AppendTokens(*bytes, spec.vocabulary(), tokens);
    if (!read.ok()) return absl::Status(read.code(), absl::StrCat(file_field, ": ", read.message()));
  }
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count < context + 1) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".files: hold ", count, " tokens, and one sequence takes ",
                                                   context + 1,
                                                   " (the model's context and one more); give more tokens or a "
                                                   "shorter context"));
  }
  at::Tensor values = at::empty({count}, at::kInt);
  std::memcpy(values.mutable_data_ptr(), tokens.data(), tokens.size() * sizeof(std::int32_t));
  return std::make_unique<TokenDataset>(values, spec.vocabulary(), context, context);
}

}  // namespace mantissa::trainer
