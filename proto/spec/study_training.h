// The training spec of a study, and which of its fields the study has no use for. For proto/spec, and for who makes a
// study of a training.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mantissa/v1/study.pb.h"

namespace mantissa::spec {

// Null: the study has none, or none is given.
const v1::TrainingSpec* TrainingOf(const v1::StudySpec& study);

// A field of the training spec that means nothing in this study.
struct UnreadField {
  std::string_view path;    // beneath the training spec: `precision.mode`
  std::string_view remedy;  // why, and what to do instead
};

std::vector<UnreadField> UnreadFields(v1::StudySpec::KindCase study);

// Whether something was said there.
bool IsGiven(const v1::TrainingSpec& training, std::string_view path);

void ClearField(v1::TrainingSpec& training, std::string_view path);

// Defaults of all that the study reads; what it does not stays as it is.
void ResolveStudyTraining(v1::StudySpec::KindCase study, v1::TrainingSpec& training);

// As the study runs it: whatever is unread is as a training's defaults make it, so that the checks of a training spec
// hold. The precision is the one of those compared that allows most.
v1::TrainingSpec TrainingAsRun(v1::StudySpec::KindCase study, const v1::TrainingSpec& training);

}  // namespace mantissa::spec
