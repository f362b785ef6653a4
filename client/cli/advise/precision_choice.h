// Which precision the studies of one advice speak for, and what that changes in the spec. Pure.
#pragma once

#include <string>
#include <vector>

#include "client/cli/advise/advice.h"
#include "client/cli/advise/study_findings.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::cli {

// Share of the iterations after the scale had settled that were skipped, at least: those before it are the price of a
// first scale that is too high, which a long run pays once.
double LateSkips(const v1::ScalerRow& row);

// Why FP16's loss scale does not hold for this model, a phrase; empty where it does, or nothing says so.
std::string WhyScaleIsUnstable(const StudyFindings& findings, v1::LossScaleSpec::Preset preset);

// The preset that is in effect where the spec is in FP16, TORCH where it names none.
v1::LossScaleSpec::Preset PresetOf(const v1::PrecisionSpec& precision);

// What the training had better run in, where the studies say it: its own mode where nothing better is known.
v1::PrecisionSpec::Mode BestMode(const v1::TrainingSpec& training, const StudyFindings& findings);

// What has to change for the training to run in `mode`: with it, whatever the spec allows in the present mode only.
std::vector<SpecChange> ModeChanges(const v1::PrecisionSpec& precision, v1::PrecisionSpec::Mode mode);

}  // namespace mantissa::cli
