#include "worker/trainer/sandbox/landlock.h"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/status/statusor.h"

#include "process/file_descriptor.h"
#include "process/sandbox_level.h"
#include "worker/trainer/sandbox/every_thread.h"

namespace mantissa::trainer {
namespace {

// Of newer kernels than the headers we build with; numbers of a kernel's interface never change.
constexpr std::uint64_t kRefer = std::uint64_t{1} << 13;
constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;
constexpr std::uint64_t kIoctlDevice = std::uint64_t{1} << 15;
constexpr std::uint64_t kBindTcp = 1, kConnectTcp = 2;
constexpr std::uint64_t kScopeAbstractSocket = 1, kScopeSignal = 2;

// The kernel's struct landlock_ruleset_attr as of interface 6; an older kernel is given its beginning.
struct RulesetAttributes {
  std::uint64_t handled_files = 0;
  std::uint64_t handled_net = 0;
  std::uint64_t scoped = 0;
};

constexpr std::uint64_t kReadRights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWriteRights = kReadRights | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                       LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                       LANDLOCK_ACCESS_FS_MAKE_REG | kTruncate;
constexpr std::uint64_t kDeviceRights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kIoctlDevice;
// What a rule on a file, rather than a folder, may name.
constexpr std::uint64_t kRightsOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate | kIoctlDevice;

std::uint64_t HandledFiles(int abi) {
  std::uint64_t handled = kWriteRights | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                          LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                          LANDLOCK_ACCESS_FS_MAKE_SYM;
  handled &= ~kTruncate;
  if (abi >= 2) handled |= kRefer;
  if (abi >= 3) handled |= kTruncate;
  if (abi >= 5) handled |= kIoctlDevice;
  return handled;
}

absl::StatusOr<process::FileDescriptor> MakeRuleset(int abi) {
  RulesetAttributes attributes;
  attributes.handled_files = HandledFiles(abi);
  std::size_t size = sizeof(attributes.handled_files);
  if (abi >= 4) {
    attributes.handled_net = kBindTcp | kConnectTcp;
    size += sizeof(attributes.handled_net);
  }
  if (abi >= 6) {
    attributes.scoped = kScopeAbstractSocket | kScopeSignal;
    size += sizeof(attributes.scoped);
  }
  process::FileDescriptor ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) return absl::ErrnoToStatus(errno, "making a Landlock ruleset");
  return ruleset;
}

std::uint64_t Bits(FileRights rights) {
  switch (rights) {
    case FileRights::kRead:
      return kReadRights;
    case FileRights::kWrite:
      return kWriteRights;
    case FileRights::kDevice:
      return kDeviceRights;
  }
  return 0;
}

absl::Status AddRule(int ruleset, const FileRule& rule, int abi) {
  const process::FileDescriptor place(::open(rule.path.c_str(), O_PATH | O_CLOEXEC));
  struct stat facts {};
  if (!place.valid() || ::fstat(place.get(), &facts) != 0) return absl::OkStatus();  // not on this machine
  landlock_path_beneath_attr beneath{};
  beneath.parent_fd = place.get();
  beneath.allowed_access = Bits(rule.rights) & HandledFiles(abi);
  if (!S_ISDIR(facts.st_mode)) beneath.allowed_access &= kRightsOfFiles;
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "adding a Landlock rule");
}

bool RestrictThisThread(int ruleset) { return ::syscall(SYS_landlock_restrict_self, ruleset, 0) == 0; }

}  // namespace

absl::Status RestrictFiles(const std::vector<FileRule>& rules) {
  const int abi = process::LandlockAbi();
  if (abi <= 0) return absl::UnavailableError("this kernel has no Landlock, or was started without it");
  absl::StatusOr<process::FileDescriptor> ruleset = MakeRuleset(abi);
  if (!ruleset.ok()) return ruleset.status();
  for (const FileRule& rule : rules) {
    if (absl::Status added = AddRule(ruleset->get(), rule, abi); !added.ok()) return added;
  }
  return OnEveryThread(&RestrictThisThread, ruleset->get());
}

}  // namespace mantissa::trainer
