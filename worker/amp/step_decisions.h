// The two decisions of an iteration, what its gradients say and what becomes of the scale, and what its backward pass
// starts with. Written once, as functions
// of plain data, for the host's reference, the CPU ops and the CUDA kernels.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "worker/amp/host_device.h"
#include "worker/amp/step_state.h"

namespace mantissa::trainer {

MANTISSA_HOST_DEVICE inline bool IsFinite(double value) { return std::fabs(value) <= DBL_MAX; }

// What the scaled loss starts its backward pass with; `targets`: the window's valid ones.
MANTISSA_HOST_DEVICE inline float BackwardSeedOf(const StepState& state, double targets) {
  return static_cast<float>(static_cast<double>(state.loss_scale) / targets);
}

// `totals`: over all parameters. See Judge in verdict.h.
MANTISSA_HOST_DEVICE inline void DecideUpdate(const ScalerSettings& settings, const GradientStats& totals, double loss,
                                              StepState* state) {
  if (state->halt != 0) return;
  const bool loss_finite = IsFinite(loss);
  const bool overflowed = totals.inf_count > 0 || totals.nan_count > 0;
  const bool skip = overflowed || (settings.check_loss != 0 && !loss_finite);

  state->loss = loss;
  state->used_loss_scale = state->loss_scale;
  state->found_inf = skip ? 1.0f : 0.0f;
  SkipCause cause = SkipCause::kNone;
  if (skip) {
    cause = !loss_finite           ? SkipCause::kNanForward
            : totals.inf_count > 0 ? SkipCause::kOverflow
                                   : SkipCause::kNanBackward;
  }
  state->cause = static_cast<std::int32_t>(cause);

  const double scale = state->loss_scale;
  state->grad_norm = std::sqrt(totals.sum_of_squares) / scale;
  double clip = 1.0;
  if (settings.max_grad_norm > 0) {
    // The 1e-6 is clip_grad_norm_'s.
    const double ratio = settings.max_grad_norm / (state->grad_norm + 1e-6);
    if (ratio < 1.0) clip = ratio;
  }
  state->factor = static_cast<float>(clip / scale);
}

MANTISSA_HOST_DEVICE inline void GrowScale(const ScalerSettings& settings, StepState* state) {
  if (settings.consecutive_hysteresis != 0) state->hysteresis_tracker = settings.hysteresis;
  state->growth_tracker += 1;
  if (state->growth_tracker < settings.growth_interval) return;
  state->growth_tracker = 0;
  state->hysteresis_tracker = settings.hysteresis;
  double grown = state->loss_scale * settings.growth_factor;
  if (settings.max > 0 && grown > settings.max) grown = settings.max;
  if (grown <= FLT_MAX) state->loss_scale = static_cast<float>(grown);
}

// True when the scale had to fall and could not.
MANTISSA_HOST_DEVICE inline bool BackOffScale(const ScalerSettings& settings, StepState* state) {
  state->growth_tracker = 0;
  if (state->hysteresis_tracker > 0) state->hysteresis_tracker -= 1;
  if (state->hysteresis_tracker > 0) return false;
  const bool at_floor = settings.min > 0 && state->loss_scale <= settings.min;
  double lowered = state->loss_scale * settings.backoff_factor;
  if (lowered < settings.min) lowered = settings.min;
  state->loss_scale = static_cast<float>(lowered);
  return at_floor;
}

// Whether the iteration that has just been skipped, `applied_before` having been applied in a row before it, is worth a
// replay.
MANTISSA_HOST_DEVICE inline bool IsWorthReplay(const ScalerSettings& settings, const StepState& state,
                                               std::int32_t applied_before) {
  if (settings.replay_after == 0 || state.iteration < state.next_replay) return false;
  if (applied_before >= settings.replay_after) return true;
  if (state.next_replay != 0) return false;
  // An overflow while the scale is being found is no news. Without a scale, or with a loss that is not finite, every
  // skip is.
  const bool searching = settings.enabled != 0 && state.cause != static_cast<std::int32_t>(SkipCause::kNanForward);
  return !searching || applied_before >= settings.first_replay_after;
}

// After the optimizer: counters, scale, latch.
MANTISSA_HOST_DEVICE inline void AdvanceScale(const ScalerSettings& settings, StepState* state) {
  if (state->halt != 0) return;
  const bool skipped = state->found_inf != 0;
  const std::int32_t applied_before = state->applied_in_row;
  state->iteration += 1;
  if (skipped) {
    state->skips_in_row += 1;
    state->applied_in_row = 0;
  } else {
    state->skips_in_row = 0;
    if (state->applied_in_row < INT32_MAX) state->applied_in_row += 1;
    state->step += 1;
  }
  bool stuck = false;
  if (settings.enabled != 0) {
    if (skipped) {
      stuck = BackOffScale(settings, state);
    } else {
      GrowScale(settings, state);
    }
  }
  if (settings.latch == 0) return;
  Halt halt = Halt::kNone;
  if (stuck && settings.halt_at_floor != 0) {
    halt = Halt::kScaleAtFloor;
  } else if (settings.enabled != 0 && state->loss_scale < settings.min_useful_scale) {
    halt = Halt::kScaleTooSmall;
  } else if (state->skips_in_row >= settings.max_skips_in_row) {
    halt = Halt::kSkipsInRow;
  } else if (skipped && IsWorthReplay(settings, *state, applied_before)) {
    halt = Halt::kReplay;
  }
  state->halt = static_cast<std::int32_t>(halt);
}

}  // namespace mantissa::trainer
