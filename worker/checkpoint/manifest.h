// MANIFEST.json: what a checkpoint is, written after everything it names. A generation without a good manifest does not
// exist.
//
// {
//   "format": 1, "job_id": "01j…", "attempt": 1, "step": 200, "iteration": 203, "lineage": 1,
//   "precision": "FP16", "finite": true, "final": false, "create_time_unix_nanos": 1790000000000000000,
//   "files": [{"name": "model.safetensors", "size_bytes": 39456, "sha256": "…"}, …],
//   "scaler": {"loss_scale": 32768, "growth_tracker": 190, "hysteresis_tracker": 1, "skips_in_row": 0},
//   "data_cursor": {"epoch": 8, "window": 19, "windows_per_epoch": 23},
//   "execution_plan": {"threads": "1", …},
//   "versions": {"mantissa": "0.1.0", "torch": "2.11.0"}
// }
//
// Generation 0, the state before the first iteration, has no files: its tensors are rebuilt from what it names.
//   "files": [], "initial": {"seed": "0"}
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mantissa::trainer {

inline constexpr char kManifestName[] = "MANIFEST.json";
inline constexpr std::int64_t kMaxManifestBytes = std::int64_t{1} << 20;

struct ManifestFile {
  std::string name;
  std::int64_t size_bytes = 0;
  std::string sha256;  // lower-case hex

  bool operator==(const ManifestFile&) const = default;
};

struct ScalerSnapshot {
  float loss_scale = 1;
  std::int32_t growth_tracker = 0;
  std::int32_t hysteresis_tracker = 1;
  std::int32_t skips_in_row = 0;

  bool operator==(const ScalerSnapshot&) const = default;
};

// Where in the data the next window begins. It follows from the iteration; kept so that a change of the data shows.
struct DataCursor {
  std::int64_t epoch = 0;
  std::int64_t window = 0;  // in the epoch
  std::int64_t windows_per_epoch = 0;

  bool operator==(const DataCursor&) const = default;
};

// What the first state is made from.
struct InitialState {
  std::uint64_t seed = 0;

  bool operator==(const InitialState&) const = default;
};

struct Manifest {
  std::string job_id;
  std::int32_t attempt = 0;
  std::int64_t step = 0;
  std::int64_t iteration = 0;
  std::int32_t lineage = 0;
  std::string precision;  // that its scaler's state is of
  bool finite = false;
  bool final = false;
  std::int64_t create_time_unix_nanos = 0;
  std::vector<ManifestFile> files;
  std::optional<InitialState> initial;  // of generation 0
  ScalerSnapshot scaler;
  DataCursor data_cursor;
  std::map<std::string, std::string> execution_plan;
  std::map<std::string, std::string> versions;

  bool operator==(const Manifest&) const = default;
};

std::string EncodeManifest(const Manifest& manifest);

// Any bytes may be given; INVALID_ARGUMENT says what is wrong. File names are plain (no `/`, no leading dot).
absl::StatusOr<Manifest> ParseManifest(std::string_view json);

}  // namespace mantissa::trainer
