#include "worker/checkpoint/checkpoint_store.h"

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"
#include "worker/checkpoint/checkpoint_path.h"
#include "worker/checkpoint/durable_file.h"
#include "worker/checkpoint/sha256.h"

namespace mantissa::trainer {
namespace {

constexpr std::string_view kTensors = ".safetensors";
constexpr char kField[] = "checkpoint";  // what paths made here are called in errors

// Fails before a byte is written; a disk that fills up later still fails, at the write.
absl::Status CheckFreeSpace(const process::OpenRoot& root, std::int64_t needed) {
  struct statvfs facts;
  if (::fstatvfs(root.fd(), &facts) != 0) return absl::OkStatus();
  const auto free = static_cast<std::int64_t>(facts.f_bavail * facts.f_frsize);
  if (needed <= free) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the checkpoint takes ", needed, " bytes and ", free,
                                                   " are free; free space in the root named checkpoints"));
}

std::int64_t SizeOf(const CheckpointFile& file) {
  auto size = static_cast<std::int64_t>(file.text.size());
  for (const TensorView& tensor : file.tensors) size += static_cast<std::int64_t>(tensor.bytes.size());
  return size;
}

absl::StatusOr<ManifestFile> WriteFile(const process::FileDescriptor& folder, const CheckpointFile& file) {
  if (!file.text.empty()) {
    auto written = WriteDurably(folder, file.name, std::vector<std::string_view>{file.text});
    if (!written.ok()) return written.status();
    return ManifestFile{file.name, written->size_bytes, written->sha256};
  }
  auto header = SafetensorsHeader(file.tensors, file.metadata);
  if (!header.ok()) return header.status();
  std::vector<std::string_view> pieces = {*header};
  for (const TensorView& tensor : file.tensors) pieces.push_back(tensor.bytes);
  auto written = WriteDurably(folder, file.name, pieces);
  if (!written.ok()) return written.status();
  return ManifestFile{file.name, written->size_bytes, written->sha256};
}

struct FolderEntry {
  std::string name;
  std::int64_t size_bytes = 0;
};

// What is of this type (S_IFREG, S_IFDIR), hidden ones too. Links are of neither.
std::vector<FolderEntry> EntriesIn(const process::FileDescriptor& folder, mode_t type) {
  std::vector<FolderEntry> found;
  const int copy = ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* entries = copy < 0 ? nullptr : ::fdopendir(copy);
  if (entries == nullptr) {
    if (copy >= 0) ::close(copy);
    return found;
  }
  while (const dirent* entry = ::readdir(entries)) {
    struct stat facts;
    if (::fstatat(folder.get(), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && (facts.st_mode & S_IFMT) == type) {
      found.push_back({entry->d_name, facts.st_size});
    }
  }
  ::closedir(entries);
  return found;
}

// The manifest goes first, so that no half of a generation looks whole.
absl::Status EmptyFolder(const process::FileDescriptor& folder) {
  if (::unlinkat(folder.get(), kManifestName, 0) == 0) {
    if (absl::Status synced = SyncFolder(folder); !synced.ok()) return synced;
  } else if (errno != ENOENT) {
    return absl::UnavailableError(absl::StrCat("removing ", kManifestName, " failed: ", std::strerror(errno)));
  }
  for (const FolderEntry& file : EntriesIn(folder, S_IFREG)) ::unlinkat(folder.get(), file.name.c_str(), 0);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadExactly(const process::FileDescriptor& file, const std::string& name,
                                        std::int64_t size) {
  struct stat facts;
  if (::fstat(file.get(), &facts) != 0) return absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(errno)));
  if (facts.st_size != size) {
    return absl::DataLossError(absl::StrCat(name, " has ", facts.st_size, " bytes and should have ", size));
  }
  std::string bytes(static_cast<std::size_t>(size), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(errno)));
    if (got == 0) return absl::DataLossError(absl::StrCat(name, " became shorter while it was read"));
    have += static_cast<std::size_t>(got);
  }
  return bytes;
}

std::pair<std::string, std::string> SplitLast(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return {std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

}  // namespace

absl::StatusOr<std::string> CheckpointStore::FreeName(const Manifest& facts) const {
  for (const std::string& name :
       {GenerationName(facts.attempt, facts.step), GenerationName(facts.attempt, facts.step, facts.iteration)}) {
    const std::string manifest = absl::StrCat(GenerationPath(job_id_, name), "/", kManifestName);
    const auto taken = root_.OpenBeneath(manifest, O_RDONLY, kField);
    if (absl::IsNotFound(taken.status())) return name;
    if (!taken.ok()) return taken.status();
  }
  return absl::AlreadyExistsError(absl::StrCat("iteration ", facts.iteration, " of this attempt is saved already"));
}

absl::StatusOr<SavedCheckpoint> CheckpointStore::Save(const Manifest& facts,
                                                      std::span<const CheckpointFile> files) const {
  auto name = FreeName(facts);
  if (!name.ok()) return name.status();
  return Write(*name, facts, files);
}

absl::StatusOr<SavedCheckpoint> CheckpointStore::SaveBundle(const Manifest& facts,
                                                            std::span<const CheckpointFile> files) const {
  const std::string name = BundleName(facts.attempt);
  if (absl::Status removed = Remove(GenerationPath(job_id_, name)); !removed.ok()) return removed;
  return Write(name, facts, files);
}

absl::StatusOr<SavedCheckpoint> CheckpointStore::Write(const std::string& name, const Manifest& facts,
                                                       std::span<const CheckpointFile> files) const {
  SavedCheckpoint saved;
  saved.name = name;
  saved.path = GenerationPath(job_id_, name);
  saved.manifest = facts;
  std::int64_t needed = kMaxManifestBytes;
  for (const CheckpointFile& file : files) needed += SizeOf(file);
  if (absl::Status room = CheckFreeSpace(root_, needed); !room.ok()) return room;
  auto folder = root_.MakeDirectories(saved.path, kField);
  if (!folder.ok()) {
    Remove(saved.path).IgnoreError();
    return folder.status();
  }

  const auto write = [&]() -> absl::Status {
    for (const CheckpointFile& file : files) {
      auto written = WriteFile(*folder, file);
      if (!written.ok()) return written.status();
      saved.size_bytes += written->size_bytes;
      saved.manifest.files.push_back(*std::move(written));
    }
    if (absl::Status synced = SyncFolder(*folder); !synced.ok()) return synced;
    MANTISSA_FAILPOINT("checkpoint.before_manifest");
    const std::string manifest = EncodeManifest(saved.manifest);
    auto written = WriteDurably(*folder, kManifestName, std::vector<std::string_view>{manifest});
    if (!written.ok()) return written.status();
    saved.manifest_size_bytes = written->size_bytes;
    saved.manifest_sha256 = written->sha256;
    saved.size_bytes += written->size_bytes;
    return SyncFolder(*folder);
  };
  if (absl::Status wrote = write(); !wrote.ok()) {
    Remove(saved.path).IgnoreError();
    return wrote;
  }
  return saved;
}

absl::StatusOr<LoadedCheckpoint> CheckpointStore::Load(std::string_view path, std::string_view manifest_sha256,
                                                       std::string_view only) const {
  if (!IsGenerationOf(job_id_, path)) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(path), " is not a checkpoint of job ", job_id_));
  }
  auto loaded = LoadFolder(root_, path, manifest_sha256, only);
  if (!loaded.ok() || loaded->manifest.job_id == job_id_) return loaded;
  return absl::DataLossError(absl::StrCat(kManifestName, " belongs to job ", loaded->manifest.job_id));
}

absl::StatusOr<LoadedCheckpoint> LoadFolder(const process::OpenRoot& root, std::string_view path,
                                            std::string_view manifest_sha256, std::string_view only) {
  const std::string prefix = path.empty() ? "" : absl::StrCat(std::string(path), "/");
  auto manifest_file = root.OpenBeneath(prefix + kManifestName, O_RDONLY, kField);
  if (!manifest_file.ok()) return manifest_file.status();
  struct stat facts;
  if (::fstat(manifest_file->get(), &facts) != 0 || facts.st_size > kMaxManifestBytes) {
    return absl::DataLossError(absl::StrCat(kManifestName, " is too large"));
  }
  auto json = ReadExactly(*manifest_file, kManifestName, facts.st_size);
  if (!json.ok()) return json.status();
  if (!manifest_sha256.empty() && Sha256Hex(*json) != manifest_sha256) {
    return absl::DataLossError(absl::StrCat(kManifestName, " is not the one that was committed"));
  }
  auto manifest = ParseManifest(*json);
  if (!manifest.ok()) return absl::DataLossError(manifest.status().message());
  LoadedCheckpoint loaded{.manifest = *std::move(manifest), .files = {}};
  for (const ManifestFile& file : loaded.manifest.files) {
    if (!only.empty() && file.name != only) continue;
    auto opened = root.OpenBeneath(prefix + file.name, O_RDONLY, kField);
    if (!opened.ok()) return absl::DataLossError(opened.status().message());
    auto bytes = ReadExactly(*opened, file.name, file.size_bytes);
    if (!bytes.ok()) return bytes.status();
    if (Sha256Hex(*bytes) != file.sha256) return absl::DataLossError(absl::StrCat(file.name, " is damaged (SHA-256)"));
    // On the heap before it is parsed, so that the views stay good.
    auto kept = std::make_unique<LoadedFile>(LoadedFile{*std::move(bytes), {}});
    if (file.name.ends_with(kTensors)) {
      auto tensors = ParseSafetensors(kept->bytes);
      if (!tensors.ok()) return absl::DataLossError(absl::StrCat(file.name, ": ", tensors.status().message()));
      kept->tensors = *std::move(tensors);
    }
    loaded.files.emplace(file.name, std::move(kept));
  }
  return loaded;
}

absl::Status CheckpointStore::Delete(std::string_view path) const {
  if (!IsGenerationOf(job_id_, path)) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(path), " is not a checkpoint of job ", job_id_));
  }
  return Remove(std::string(path));
}

absl::Status CheckpointStore::Remove(const std::string& path) const {
  if (!root_.writable()) return absl::FailedPreconditionError("the root named checkpoints is read-only");
  auto folder = root_.OpenBeneath(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, kField);
  if (absl::IsNotFound(folder.status())) return absl::OkStatus();
  if (!folder.ok()) return folder.status();
  if (absl::Status emptied = EmptyFolder(*folder); !emptied.ok()) return emptied;
  const auto [parent_path, name] = SplitLast(path);
  auto parent = root_.OpenBeneath(parent_path, O_RDONLY | O_DIRECTORY, kField);
  if (!parent.ok()) return parent.status();
  if (::unlinkat(parent->get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return absl::UnavailableError(absl::StrCat("removing ", path, " failed: ", std::strerror(errno)));
  }
  return SyncFolder(*parent);
}

absl::StatusOr<ReclaimedCheckpoints> CheckpointStore::Reclaim(std::int32_t attempt,
                                                              const std::set<std::string>& committed) const {
  constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  ReclaimedCheckpoints reclaimed;
  auto job = root_.OpenBeneath(job_id_, kFolder, kField);
  if (absl::IsNotFound(job.status())) return reclaimed;
  if (!job.ok()) return job.status();
  for (const FolderEntry& of_attempt : EntriesIn(*job, S_IFDIR)) {
    const std::optional<std::int32_t> number = AttemptOfFolder(of_attempt.name);
    if (!number || *number >= attempt) continue;
    auto folder = root_.OpenBeneath(GenerationPath(job_id_, of_attempt.name), kFolder, kField);
    if (!folder.ok()) return folder.status();
    for (const FolderEntry& generation : EntriesIn(*folder, S_IFDIR)) {
      const std::string name = absl::StrCat(of_attempt.name, "/", generation.name);
      const std::string path = GenerationPath(job_id_, name);
      const bool generation_of_job = IsGenerationOf(job_id_, path) && !committed.contains(name);
      const bool torn_bundle =
          name == BundleName(*number) &&
          absl::IsNotFound(root_.OpenBeneath(absl::StrCat(path, "/", kManifestName), O_RDONLY, kField).status());
      if (!generation_of_job && !torn_bundle) continue;
      auto files = root_.OpenBeneath(path, kFolder, kField);
      if (!files.ok()) return files.status();
      for (const FolderEntry& file : EntriesIn(*files, S_IFREG)) reclaimed.size_bytes += file.size_bytes;
      if (absl::Status deleted = Remove(path); !deleted.ok()) return deleted;
      ++reclaimed.generations;
    }
    // Stays where something is left in it.
    if (::unlinkat(job->get(), of_attempt.name.c_str(), AT_REMOVEDIR) != 0) continue;
    if (absl::Status synced = SyncFolder(*job); !synced.ok()) return synced;
  }
  return reclaimed;
}

}  // namespace mantissa::trainer
