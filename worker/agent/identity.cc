#include "worker/agent/identity.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace mantissa::agent {
namespace {

constexpr char kIdFile[] = "worker-id";
constexpr char kLockFile[] = "lock";
constexpr std::size_t kMaxIdBytes = 63;

// What of a host's name may stand in an id, and room for a suffix.
std::string Slug(std::string_view host) {
  std::string slug;
  for (char c : host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (fits) {
      slug += c;
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  slug = slug.substr(0, 48);
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "worker" : slug;
}

// Written whole or not at all, and durable before it is used: a worker must not forget who it was.
absl::Status Keep(const std::filesystem::path& file, const std::string& id) {
  const std::string temporary = file.string() + ".new";
  const process::FileDescriptor out(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
  const std::string line = id + "\n";
  if (!out.valid() || ::write(out.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      ::fsync(out.get()) != 0 || ::rename(temporary.c_str(), file.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("writing ", file.string(), " (--state-dir)"));
  }
  const process::FileDescriptor folder(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || ::fsync(folder.get()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("syncing ", file.parent_path().string(), " (--state-dir)"));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsWorkerId(std::string_view text) {
  return !text.empty() && text.size() <= kMaxIdBytes && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

absl::StatusOr<Identity> Identity::Open(const std::string& state_dir, const std::string& wanted,
                                        const process::RandomSource& random) {
  if (!wanted.empty() && !IsWorkerId(wanted)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--worker-id: '", wanted, "' must be 1 to 63 characters of a-z, 0-9 and '-', for example ws-1"));
  }
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("--state-dir: can't make ", state_dir, ": ", error.message(), "; name a folder that is writable"));
  }
  const std::filesystem::path folder(state_dir);
  process::FileDescriptor lock(::open((folder / kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (!lock.valid()) {
    return absl::FailedPreconditionError(absl::StrCat("--state-dir: can't write in ", state_dir, ": ",
                                                      std::error_code(errno, std::generic_category()).message(),
                                                      "; name a folder that is writable"));
  }
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("--state-dir: another mantissa-worker uses ", state_dir,
                                                      "; stop it, or give this one its own folder"));
  }
  std::string id = wanted;
  if (id.empty()) {
    std::ifstream kept(folder / kIdFile);
    std::getline(kept, id);
  }
  if (!IsWorkerId(id)) {
    std::array<std::uint8_t, 3> bytes;
    random(absl::MakeSpan(bytes));
    id = absl::StrCat(Slug(HostName()), "-",
                      process::HexEncode(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  }
  if (absl::Status kept = Keep(folder / kIdFile, id); !kept.ok()) return kept;
  return Identity(std::move(id), std::move(lock));
}

std::string HostName() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "";
  return name.data();
}

}  // namespace mantissa::agent
