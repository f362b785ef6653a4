#include "tests/unit/checkpoint/recorded_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <set>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace mantissa::trainer {
namespace {

RecordedDisk* g_disk = nullptr;

bool TakesSpace(DiskCall::Kind kind) {
  return kind == DiskCall::Kind::kMakeFolder || kind == DiskCall::Kind::kCreate || kind == DiskCall::Kind::kWrite;
}

}  // namespace

RecordedDisk::RecordedDisk(const std::filesystem::path& folder) : folder_(std::filesystem::canonical(folder)) {
  g_disk = this;
}

RecordedDisk::~RecordedDisk() { g_disk = nullptr; }

void RecordedDisk::FailAt(std::size_t number, int error) {
  fail_at_ = number;
  fail_error_ = error;
}

void RecordedDisk::FillAt(std::size_t number) { full_from_ = number; }

void RecordedDisk::Mend() {
  fail_at_.reset();
  full_from_.reset();
}

int RecordedDisk::Attempt(const DiskCall& call, std::size_t* write_bytes) {
  const std::size_t number = count_++;
  if (fail_at_ == number) {
    failed_ = failed_.value_or(call);
    return fail_error_;
  }
  if (!full_from_ || number < *full_from_ || !TakesSpace(call.kind)) return 0;
  if (call.kind == DiskCall::Kind::kWrite && number == *full_from_ && *write_bytes > 1) {
    *write_bytes /= 2;
    return 0;
  }
  failed_ = failed_.value_or(call);
  return ENOSPC;
}

std::optional<std::string> RecordedDisk::PathOf(int descriptor, const char* name) const {
  char text[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t size = ::readlink(link.c_str(), text, sizeof(text));
  if (size <= 0) return std::nullopt;
  std::string path(text, static_cast<std::size_t>(size));
  if (name != nullptr) path += std::string("/") + name;
  if (path == folder_) return std::string();
  if (path.rfind(folder_ + "/", 0) != 0) return std::nullopt;
  return path.substr(folder_.size() + 1);
}

namespace {

struct Node {
  bool folder = false;
  std::string bytes;  // as programs see it
  std::string synced_bytes;
  std::map<std::string, std::size_t> entries;
  std::map<std::string, std::size_t> synced_entries;
};

// Files and folders with the two states each of them has: what programs see, and what is surely on the disk.
class Model {
 public:
  Model() { Add(/*folder=*/true); }

  void Apply(const DiskCall& call) {
    switch (call.kind) {
      case DiskCall::Kind::kMakeFolder:
        Enter(call.path, Add(/*folder=*/true));
        break;
      case DiskCall::Kind::kCreate:
        Enter(call.path, Add(/*folder=*/false));
        break;
      case DiskCall::Kind::kWrite:
        nodes_.at(At(call.path)).bytes += call.bytes;
        break;
      case DiskCall::Kind::kSync: {
        Node& node = nodes_.at(At(call.path));
        node.synced_bytes = node.bytes;
        node.synced_entries = node.entries;
        break;
      }
      case DiskCall::Kind::kClose:
        break;
      case DiskCall::Kind::kRename: {
        const std::size_t node = At(call.path);
        Leave(call.path);
        Enter(call.to, node);
        break;
      }
      case DiskCall::Kind::kRemove:
        Leave(call.path);
        break;
    }
  }

  void Write(Unsynced fate, std::mt19937& random, const std::filesystem::path& folder) const {
    WriteNode(0, fate, random, folder);
  }

 private:
  std::size_t Add(bool folder) {
    nodes_.emplace_back().folder = folder;
    return nodes_.size() - 1;
  }
  static std::pair<std::string, std::string> Split(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
  }
  std::size_t At(const std::string& path) const {
    std::size_t node = 0;
    for (std::size_t from = 0; from < path.size();) {
      const std::size_t end = std::min(path.find('/', from), path.size());
      node = nodes_.at(node).entries.at(path.substr(from, end - from));
      from = end + 1;
    }
    return node;
  }
  void Enter(const std::string& path, std::size_t node) {
    const auto [parent, name] = Split(path);
    nodes_.at(At(parent)).entries[name] = node;
  }
  void Leave(const std::string& path) {
    const auto [parent, name] = Split(path);
    nodes_.at(At(parent)).entries.erase(name);
  }

  static bool Coin(std::mt19937& random) { return (random() & 1) != 0; }

  std::map<std::string, std::size_t> Names(const Node& node, Unsynced fate, std::mt19937& random) const {
    if (fate == Unsynced::kLost) return node.synced_entries;
    if (fate == Unsynced::kNamesKept) return node.entries;
    std::set<std::string> names;
    for (const auto* entries : {&node.entries, &node.synced_entries}) {
      for (const auto& [name, child] : *entries) names.insert(name);
    }
    std::map<std::string, std::size_t> kept;
    for (const std::string& name : names) {
      const auto& entries = Coin(random) ? node.entries : node.synced_entries;
      if (const auto found = entries.find(name); found != entries.end()) kept.insert(*found);
    }
    return kept;
  }

  static std::string Bytes(const Node& node, Unsynced fate, std::mt19937& random) {
    if (fate != Unsynced::kSomeLost || Coin(random)) return node.synced_bytes;
    // What was synced stays; behind it any part of the rest, the remainder zeros or not there.
    std::string bytes = node.bytes.substr(0, node.synced_bytes.size());
    bytes += node.bytes.substr(bytes.size(), random() % (node.bytes.size() - bytes.size() + 1));
    if (Coin(random)) bytes.resize(node.bytes.size(), '\0');
    return bytes;
  }

  void WriteNode(std::size_t index, Unsynced fate, std::mt19937& random, const std::filesystem::path& path) const {
    const Node& node = nodes_[index];
    if (!node.folder) {
      std::ofstream(path, std::ios::binary) << Bytes(node, fate, random);
      return;
    }
    std::filesystem::create_directory(path);
    for (const auto& [name, child] : Names(node, fate, random)) WriteNode(child, fate, random, path / name);
  }

  std::deque<Node> nodes_;
};

}  // namespace

void WriteDiskAfterCrash(const std::vector<DiskCall>& calls, std::size_t count, Unsynced fate, std::mt19937& random,
                         const std::filesystem::path& folder) {
  Model model;
  for (std::size_t i = 0; i < count; ++i) model.Apply(calls[i]);
  model.Write(fate, random, folder);
}

namespace {

// One call of the code under test: the real one, unless it is to fail; recorded when it succeeded.
template <class Real>
long Call(DiskCall::Kind kind, int descriptor, const char* name, std::string bytes, Real real) {
  RecordedDisk* const disk = g_disk;
  std::optional<std::string> path;
  if (disk != nullptr) path = disk->PathOf(descriptor, name);
  if (!path) return real(bytes.size());
  DiskCall call{kind, *path, "", std::move(bytes)};
  std::size_t size = call.bytes.size();
  if (const int error = disk->Attempt(call, &size); error != 0) {
    if (kind == DiskCall::Kind::kClose) real(size);
    errno = error;
    return -1;
  }
  const long result = real(size);
  if (result < 0) return result;
  call.bytes.resize(size);
  disk->Record(std::move(call));
  return result;
}

}  // namespace
}  // namespace mantissa::trainer

// In place of the C library's, with its very signatures.
extern "C" {

using mantissa::trainer::Call;
using mantissa::trainer::DiskCall;

ssize_t write(int fd, const void* bytes, size_t size) {
  if (mantissa::trainer::g_disk == nullptr) return ::syscall(SYS_write, fd, bytes, size);
  return Call(DiskCall::Kind::kWrite, fd, nullptr, std::string(static_cast<const char*>(bytes), size),
              [&](std::size_t allowed) { return ::syscall(SYS_write, fd, bytes, allowed); });
}

int fsync(int fd) {
  return static_cast<int>(
      Call(DiskCall::Kind::kSync, fd, nullptr, "", [&](std::size_t) { return ::syscall(SYS_fsync, fd); }));
}

int close(int fd) {
  return static_cast<int>(
      Call(DiskCall::Kind::kClose, fd, nullptr, "", [&](std::size_t) { return ::syscall(SYS_close, fd); }));
}

int mkdirat(int folder, const char* name, mode_t mode) noexcept {
  return static_cast<int>(Call(DiskCall::Kind::kMakeFolder, folder, name, "",
                               [&](std::size_t) { return ::syscall(SYS_mkdirat, folder, name, mode); }));
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  return static_cast<int>(Call(DiskCall::Kind::kRemove, folder, name, "",
                               [&](std::size_t) { return ::syscall(SYS_unlinkat, folder, name, flags); }));
}

int openat(int folder, const char* name, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  const auto real = [&](std::size_t) { return ::syscall(SYS_openat, folder, name, flags, mode); };
  return static_cast<int>((flags & O_CREAT) != 0 ? Call(DiskCall::Kind::kCreate, folder, name, "", real) : real(0));
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  mantissa::trainer::RecordedDisk* const disk = mantissa::trainer::g_disk;
  const auto real = [&] { return static_cast<int>(::syscall(SYS_renameat, from_folder, from, to_folder, to)); };
  if (disk == nullptr) return real();
  const auto path = disk->PathOf(from_folder, from);
  const auto target = disk->PathOf(to_folder, to);
  if (!path || !target) return real();
  DiskCall call{DiskCall::Kind::kRename, *path, *target, ""};
  std::size_t size = 0;
  if (const int error = disk->Attempt(call, &size); error != 0) {
    errno = error;
    return -1;
  }
  const int result = real();
  if (result == 0) disk->Record(std::move(call));
  return result;
}

}  // extern "C"
