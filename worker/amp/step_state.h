// What an iteration carries from one op to the next, and to the next iteration: one small struct that lives in a byte
// tensor on the job's device and never has to leave it. On CPU the host reads it where it lies; on CUDA kernels do.
//
// The order of an iteration: grad_stats, verdict, the optimizer's op, update_scale. Once `halt` is set, all four leave
// everything as it is, this struct included, so that iterations already in flight change nothing.
//
// Plain data, compiled by the C++ compiler and by nvcc alike.
#pragma once

#include <cstdint>

namespace mantissa::trainer {

// Why an iteration was skipped; the numbers are those of v1::SkipCause.
enum class SkipCause : std::int32_t {
  kNone = 0,
  kOverflow = 1,     // the loss is finite, some gradient is Inf
  kNanForward = 2,   // the loss is not finite
  kNanBackward = 3,  // the loss is finite, NaN but no Inf among the gradients
};

// Why the run cannot go on before the host has done something. Set by update_scale, but for the last one; released by
// nobody but the host.
enum class Halt : std::int32_t {
  kNone = 0,
  kScaleAtFloor = 1,  // an overflow that wanted to lower a scale that is at its floor
  kSkipsInRow = 2,
  kScaleTooSmall = 3,
  kReplay = 4,     // the last iteration, which was skipped, is worth running once more to see where it went wrong
  kRehearsal = 5,  // set by the host: iterations are run for what they make the libraries prepare, and change nothing
};

struct StepState {
  // Counters and scaler: what a checkpoint holds.
  std::int64_t iteration = 0;  // windows consumed
  std::int64_t step = 0;       // updates applied
  float loss_scale = 1;        // of the next iteration
  std::int32_t growth_tracker = 0;
  std::int32_t hysteresis_tracker = 1;
  std::int32_t skips_in_row = 0;
  std::int32_t halt = 0;  // Halt

  // The iteration under way, or the last one: written by verdict.
  std::int32_t cause = 0;     // SkipCause
  float found_inf = 0;        // exactly 0 or 1
  float factor = 1;           // what a gradient is multiplied by: 1/scale and clipping in one
  float used_loss_scale = 1;  // the scale it ran with
  // Outside the checkpoint: whether a replay is worth it changes no bit of the training.
  std::int32_t applied_in_row = 0;
  std::int64_t next_replay = 0;  // no replay before this iteration; 0: there has been none
  double loss = 0;               // unscaled mean over the window's targets
  double grad_norm = 0;          // unscaled, before clipping; meaningless when found_inf is 1
  // Written by the optimizer's op.
  double learning_rate = 0;
};

static_assert(sizeof(StepState) == 88);

// What update_scale and verdict are told once per run. Plain data, in a byte tensor on the device.
struct ScalerSettings {
  double init = 1;
  double growth_factor = 2;
  double backoff_factor = 0.5;
  double min = 0;  // floor; 0 for none
  double max = 0;  // ceiling; 0: growth that is not finite in FP32 does not happen
  std::int32_t growth_interval = 2000;
  std::int32_t hysteresis = 1;              // overflows before the scale backs off
  std::int32_t consecutive_hysteresis = 0;  // every clean iteration refills it, else only growth does
  std::int32_t enabled = 0;                 // 0: the scale stays 1 (FP32, BF16)

  // Limits that set `halt`. Off, the presets equal the scalers they are named after.
  std::int32_t latch = 1;
  std::int32_t halt_at_floor = 0;  // on_failure is not CLAMP
  std::int32_t max_skips_in_row = 50;
  std::int32_t check_loss = 1;  // a loss that is not finite skips the iteration

  // A skip after this many iterations applied in a row sets Halt::kReplay; 0: none does, for a host without a replay.
  std::int32_t replay_after = 0;
  // That many are enough for the first replay of all: the scale has been found, so the skip is no part of finding it.
  std::int32_t first_replay_after = 20;
  double min_useful_scale = 1.0 / 16384;  // 2^-14: below it, scaling no longer helps
  double max_grad_norm = 1;               // 0: no clipping
};

// One parameter's gradient, or one chunk of it.
struct GradientStats {
  double sum_of_squares = 0;  // of the finite elements, still scaled
  std::int64_t inf_count = 0;
  std::int64_t nan_count = 0;
  float largest = 0;  // largest finite magnitude, still scaled
  std::int32_t reserved = 0;
};

static_assert(sizeof(GradientStats) == 32);

// A piece of one parameter in the flat buffers; the unit of work of every op over them. int64 (chunks, 4) as a tensor.
struct Chunk {
  std::int64_t begin = 0;
  std::int64_t size = 0;
  std::int64_t parameter = 0;
  std::int64_t reserved = 0;
};

}  // namespace mantissa::trainer
