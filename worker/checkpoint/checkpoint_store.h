// The checkpoints of one job on disk: a generation is whole or it is not there.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/roots.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/safetensors.h"

namespace mantissa::trainer {

// A file to be written: safetensors, or text where there is any.
struct CheckpointFile {
  std::string name;  // `model.safetensors`
  std::vector<TensorView> tensors;
  TensorMetadata metadata;
  std::string text = {};
};

struct SavedCheckpoint {
  std::string name;  // `attempt-0001/step-00000200`
  std::string path;  // beneath the root
  Manifest manifest;
  std::int64_t manifest_size_bytes = 0;
  std::string manifest_sha256;
  std::int64_t size_bytes = 0;  // of all files, the manifest's included
};

// What Reclaim removed.
struct ReclaimedCheckpoints {
  int generations = 0;
  std::int64_t size_bytes = 0;
};

struct LoadedFile {
  std::string bytes;
  SafetensorsFile tensors;  // into bytes; of a file `….safetensors`
};

struct LoadedCheckpoint {
  Manifest manifest;
  std::map<std::string, std::unique_ptr<LoadedFile>> files;
};

// Everything in a folder with a manifest is verified, as CheckpointStore::Load says; `path` is beneath the root, empty
// for the root itself.
absl::StatusOr<LoadedCheckpoint> LoadFolder(const process::OpenRoot& root, std::string_view path,
                                            std::string_view manifest_sha256, std::string_view only = {});

// Note [Reclaiming]
// Only the server decides what may be deleted, because only it knows which generations are committed. An attempt that
// starts is told all of them. Whatever else lies in the folders of earlier attempts has had its chance: they lost their
// lease when this attempt was made, so no generation of theirs can be committed after that list was, and one that still
// writes there writes for nobody. Folders of this attempt and of later ones are left alone, so that an attempt that
// comes late, long replaced itself, has nothing of its successors to remove. Where a server does not say what is
// committed, nothing is reclaimed.

// Reads and writes beneath `<job>/` of the root, and nowhere else. Not thread-safe; generations of other attempts may
// be written by other processes meanwhile.
class CheckpointStore {
 public:
  // The root must outlive it.
  CheckpointStore(const process::OpenRoot& root, std::string job_id) : root_(root), job_id_(std::move(job_id)) {}

  // Writes a generation: the files, then the manifest (`facts` with the files filled in), each durable before the next.
  // A generation that is already there is never touched: the same step of an attempt again gets a name of its own. On
  // error nothing of it is left. RESOURCE_EXHAUSTED when the disk has no room for it.
  absl::StatusOr<SavedCheckpoint> Save(const Manifest& facts, std::span<const CheckpointFile> files) const;

  // Writes the attempt's bundle (trainer/bundle) in the same way, in the place of an earlier one: `<job>/attempt-0001/
  // bundle`. It is no generation: nothing resumes from it, and the agent removes it once the server has it.
  absl::StatusOr<SavedCheckpoint> SaveBundle(const Manifest& facts, std::span<const CheckpointFile> files) const;

  // Everything is verified: the manifest against `manifest_sha256` (empty: unknown), every file's size, hash and
  // format. NOT_FOUND when it is not there, DATA_LOSS when it is damaged, INVALID_ARGUMENT for a path that is not a
  // generation of this job. With `only`, the others of its files are not looked at.
  absl::StatusOr<LoadedCheckpoint> Load(std::string_view path, std::string_view manifest_sha256,
                                        std::string_view only = {}) const;

  // Removes a generation, its manifest first. Not being there is success.
  absl::Status Delete(std::string_view path) const;

  // Removes what the attempts before `attempt` left and `committed` does not name: generations that a kill tore, and
  // whole ones that nobody got to commit, and torn bundles. See Note [Reclaiming].
  absl::StatusOr<ReclaimedCheckpoints> Reclaim(std::int32_t attempt, const std::set<std::string>& committed) const;

 private:
  absl::StatusOr<std::string> FreeName(const Manifest& facts) const;
  // Into `name`, which is free. On error nothing of it is left.
  absl::StatusOr<SavedCheckpoint> Write(const std::string& name, const Manifest& facts,
                                        std::span<const CheckpointFile> files) const;
  // Files and folder. Not being there is success.
  absl::Status Remove(const std::string& path) const;

  const process::OpenRoot& root_;
  const std::string job_id_;
};

}  // namespace mantissa::trainer
