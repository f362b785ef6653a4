// The checks of ValidateJobSpec, one file a part. Each takes a message with its defaults resolved and a checker that
// stands at it. For proto/spec alone.
#pragma once

#include "mantissa/v1/study.pb.h"
#include "mantissa/v1/training.pb.h"
#include "proto/spec/checker.h"
#include "proto/spec/model_shape.h"

namespace mantissa::spec {

// Ten years: beyond it a duration is a mistake.
inline constexpr std::int64_t kLongestSeconds = std::int64_t{3650} * 86'400;

inline constexpr std::int32_t kMaxVocabulary = 16'777'216;
inline constexpr std::int32_t kMaxContext = 1'048'576;  // tokens in a sequence

inline constexpr std::int64_t kMaxMemoryBytes = std::int64_t{1} << 50;

void CheckTraining(const v1::TrainingSpec& training, Checker checker);

void CheckStudy(const v1::StudySpec& study, Checker checker);

// The model's own fields; true when all are right, so that its size can be worked out.
bool CheckModel(const v1::Model& model, Checker checker);

bool CheckConvnet(const v1::Convnet& convnet, Checker checker);
bool CheckSequential(const v1::Sequential& sequential, Checker checker);
bool CheckPathological(const v1::Pathological& model, Checker checker);

// Whether the layers of a model fit together and the data; other kinds do in any case. The model's fields
// are right, and `checker` stands at it.
bool CheckModelFits(const v1::TrainingSpec& training, const SampleShape& sample, Checker checker);

// Each source's own fields, and whether they suit each other and the model; true when all are right.
bool CheckData(const v1::Data& data, const v1::Model& model, Checker checker);

void CheckPrecision(const v1::PrecisionSpec& precision, Checker checker);

// The overrides' own fields. Which modules they cover: FindIdleOverrides.
void CheckOverrides(const v1::PrecisionSpec& precision, Checker checker);

void CheckOptimizer(const v1::OptimizerSpec& optimizer, Checker checker);

// `iterations`: the length of the run, 0 when only the data can tell it.
void CheckSchedule(const v1::ScheduleSpec& schedule, std::int64_t iterations, Checker checker);

// The groups' own fields. Which parameters they cover: FindIdleGroups.
void CheckParameterGroups(const v1::TrainingSpec& training, Checker checker);

}  // namespace mantissa::spec
