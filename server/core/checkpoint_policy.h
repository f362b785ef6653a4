// Which committed checkpoints an attempt resumes from and which may go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "mantissa/v1/job.pb.h"

namespace mantissa::server {

// `attempt-0001/step-00000200`.
std::string CheckpointName(int32_t attempt, int32_t step);

// INVALID_ARGUMENT that names the field: what a worker sends is not trusted to be a sane relative path.
absl::Status CheckCheckpoint(const v1::Checkpoint& checkpoint);

// No empty, `.` or `..` part, no leading slash, no control character, at most `longest` bytes.
bool IsSaneRelativePath(const std::string& path, size_t longest = 1024);
bool IsSha256Hex(const std::string& text);

// The state before the first iteration: small, rebuilt from the seed on any machine, and never let go.
bool IsGenerationZero(const v1::Checkpoint& checkpoint);

// `checkpoints` are oldest first. Kept are the newest `keep`, the newest finite one, generation 0, and `resumed_from`,
// which a running attempt may still be reading; a run of NaN can therefore never rotate the good one away. What an
// intervention abandoned counts for nothing. Once a checkpoint may go, no later commit makes it needed again. Returns
// indices, in order.
std::vector<size_t> DeletableCheckpoints(const std::vector<v1::Checkpoint>& checkpoints, int32_t keep,
                                         const std::string& resumed_from);

// Where an intervention goes back to: the newest finite one that was made at or before `iteration` and may not go,
// generation 0 where there is no other. Nothing: to the beginning, without a checkpoint. `deletable` as above.
std::optional<size_t> NewestFinite(const std::vector<v1::Checkpoint>& checkpoints, const std::vector<size_t>& deletable,
                                   int32_t iteration);

// What a job may begin from: of `checkpoints`, oldest first, the newest finite one, or with a `step` above 0 the newest
// of that step, were it finite. Generation 0, which has no tensors, does not count, nor do those that are abandoned or
// of `deletable`, which may vanish at any time. Null when there is none.
const v1::Checkpoint* ChooseInitial(const std::vector<v1::Checkpoint>& checkpoints,
                                    const std::vector<size_t>& deletable, int32_t step);

}  // namespace mantissa::server
