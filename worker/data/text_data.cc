#include "worker/data/text_data.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>

#include "worker/data/read_file.h"
#include "worker/data/token_dataset.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kByteVocabulary = 256;

// Names of the regular files in a folder, sorted, without hidden ones.
absl::StatusOr<std::vector<std::string>> FilesIn(process::FileDescriptor folder, const std::string& field) {
  DIR* entries = ::fdopendir(folder.get());
  if (entries == nullptr) {
    return absl::UnavailableError(absl::StrCat(field, ": the folder cannot be read (", std::strerror(errno), ")"));
  }
  static_cast<void>(folder.Release());  // closedir closes it
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(entries)) {
    struct stat facts;
    if (entry->d_name[0] == '.') continue;
    if (::fstatat(::dirfd(entries), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISREG(facts.st_mode)) names.emplace_back(entry->d_name);
  }
  ::closedir(entries);
  if (names.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": the folder holds no files; name one that does"));
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool IsFolder(const process::FileDescriptor& file) {
  struct stat facts;
  return ::fstat(file.get(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

absl::Status AppendFile(absl::StatusOr<std::string> bytes, std::string& text) {
  if (!bytes.ok()) return bytes.status();
  text.append(*bytes);
  return absl::OkStatus();
}

absl::Status AppendPath(const std::string& path, const process::Roots& roots, const std::string& field,
                        std::int64_t max_bytes, std::string& text) {
  const auto left = [&] { return max_bytes - static_cast<std::int64_t>(text.size()); };
  auto opened = roots.OpenPath(path, O_RDONLY, field);
  if (!opened.ok()) return opened.status();
  if (!IsFolder(*opened)) return AppendFile(ReadFile(*opened, field, left()), text);
  auto names = FilesIn(*std::move(opened), field);
  if (!names.ok()) return names.status();
  const bool root_itself = path.empty() || path.back() == ':' || path.back() == '/';
  for (const std::string& name : *names) {
    const std::string file = root_itself ? path + name : absl::StrCat(path, "/", name);
    if (absl::Status read = AppendFile(ReadRootedFile(roots, file, field, left()), text); !read.ok()) return read;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> LoadText(const v1::Text& spec, std::int64_t context,
                                                  const process::Roots& roots, std::string_view field,
                                                  std::int64_t max_bytes) {
  std::string text;
  for (int i = 0; i < spec.files_size(); ++i) {
    const std::string file_field = absl::StrCat(std::string(field), ".files[", i, "]");
    if (absl::Status read = AppendPath(spec.files(i), roots, file_field, max_bytes, text); !read.ok()) return read;
  }
  const auto size = static_cast<std::int64_t>(text.size());
  if (size < context + 1) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ".files: hold ", size,
                                                   " bytes, and one sequence takes ", context + 1,
                                                   " (the model's context and one more); give more text or a "
                                                   "shorter context"));
  }
  at::Tensor tokens = at::empty({size}, at::kByte);
  std::memcpy(tokens.mutable_data_ptr(), text.data(), text.size());
  return std::make_unique<TokenDataset>(tokens, kByteVocabulary, context, context);
}

}  // namespace mantissa::trainer
