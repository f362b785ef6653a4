// Small settings and traces of a loss scaler: '1' is an iteration with gradients that are not finite, '0' a clean one,
// spaces are for the reader.
#pragma once

#include <string_view>
#include <vector>

#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {

// Scale 16 that grows after 4, with nothing else switched on: no hysteresis, floor, ceiling or limit.
inline ScalerSettings SmallScaler() {
  ScalerSettings settings;
  settings.enabled = 1;
  settings.init = 16;
  settings.growth_interval = 4;
  settings.latch = 0;
  return settings;
}

inline LossScaler ScalerAfter(const ScalerSettings& settings, std::string_view trace) {
  LossScaler scaler(settings);
  for (const char found_inf : trace) {
    if (found_inf != ' ') scaler.Update(found_inf == '1');
  }
  return scaler;
}

// The scale after each update.
inline std::vector<double> ScalesAfter(const ScalerSettings& settings, std::string_view trace) {
  LossScaler scaler(settings);
  std::vector<double> scales;
  for (const char found_inf : trace) {
    if (found_inf == ' ') continue;
    scaler.Update(found_inf == '1');
    scales.push_back(scaler.scale());
  }
  return scales;
}

}  // namespace mantissa::trainer
