#include "worker/agent/exporters/export_point.h"

#include <charconv>
#include <optional>

#include "google/protobuf/util/time_util.h"

#include "proto/spec/column_values.h"
#include "worker/agent/forward/telemetry_segment.h"

namespace mantissa::agent {
namespace {

// One column, read from its first row to its last.
class ColumnCursor {
 public:
  ColumnCursor(const v1::RecordColumns& records, v1::Column::Standard standard) {
    for (const v1::Column& column : records.columns()) {
      if (column.id_case() == v1::Column::kStandard && column.standard() == standard) column_ = &column;
    }
  }

  std::optional<double> Next() {
    const int row = row_++;
    if (column_ == nullptr || !spec::IsPresent(*column_, row)) return std::nullopt;
    return ValueAt(*column_, value_++);
  }

  // Times have more digits than a double.
  std::int64_t NextInteger() {
    const int row = row_++;
    if (column_ == nullptr || !spec::IsPresent(*column_, row)) return 0;
    const int index = value_++;
    return column_->has_integers() ? column_->integers().values(index)
                                   : static_cast<std::int64_t>(ValueAt(*column_, index));
  }

 private:
  const v1::Column* column_ = nullptr;
  int row_ = 0;
  int value_ = 0;
};

void PushIf(ExportPoint& point, const char* tag, const std::optional<double>& value) {
  if (value) point.scalars.push_back({tag, *value});
}

std::vector<ExportPoint> RecordPoints(const v1::Segment& segment) {
  const v1::RecordColumns& records = segment.records();
  ColumnCursor iterations(records, v1::Column::ITERATION), times(records, v1::Column::TIME_UNIX_NANOS),
      losses(records, v1::Column::LOSS), scales(records, v1::Column::LOSS_SCALE), applied(records, v1::Column::APPLIED),
      norms(records, v1::Column::GRAD_NORM), rates(records, v1::Column::LEARNING_RATE),
      speeds(records, v1::Column::SAMPLES_PER_SECOND);
  std::vector<ExportPoint> points;
  for (int row = 0; row < segment.count(); ++row) {
    ExportPoint& point = points.emplace_back();
    point.step = iterations.NextInteger();
    point.time_unix_nanos = times.NextInteger();
    PushIf(point, "train/loss", losses.Next());
    PushIf(point, "train/loss_scale", scales.Next());
    if (const std::optional<double> was_applied = applied.Next()) {
      point.skipped = *was_applied == 0;
      point.scalars.push_back({"train/overflow", point.skipped ? 1.0 : 0.0});
    }
    PushIf(point, "train/grad_norm", norms.Next());
    PushIf(point, "train/learning_rate", rates.Next());
    PushIf(point, "train/samples_per_second", speeds.Next());
  }
  return points;
}

// The name of the field that a oneof holds; empty for none.
std::string KindOf(const google::protobuf::Message& message) {
  const auto* const kind = message.GetDescriptor()->FindOneofByName("kind");
  const auto* const field = kind == nullptr ? nullptr : message.GetReflection()->GetOneofFieldDescriptor(message, kind);
  return field == nullptr ? "" : field->name();
}

std::string NumberText(double number) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}

double LearningRateOf(const v1::OptimizerSpec& optimizer) {
  if (optimizer.has_adam()) return optimizer.adam().learning_rate();
  return optimizer.has_sgd() ? optimizer.sgd().learning_rate() : optimizer.adamw().learning_rate();
}

}  // namespace

std::vector<ExportPoint> PointsOf(const v1::Segment& segment) {
  if (segment.has_records()) return RecordPoints(segment);
  if (!segment.has_event() || !segment.event().has_evaluation()) return {};
  const v1::JobEvent& event = segment.event();
  ExportPoint point;
  point.step = event.iteration();
  point.time_unix_nanos = google::protobuf::util::TimeUtil::TimestampToNanoseconds(event.time());
  point.evaluation = true;
  point.scalars.push_back({"eval/loss", event.evaluation().loss()});
  if (event.evaluation().has_accuracy()) point.scalars.push_back({"eval/accuracy", event.evaluation().accuracy()});
  if (event.evaluation().has_perplexity()) {
    point.scalars.push_back({"eval/perplexity", event.evaluation().perplexity()});
  }
  return {point};
}

std::vector<std::pair<std::string, std::string>> ParametersOf(const v1::JobSpec& spec) {
  const v1::TrainingSpec& training = spec.training();
  std::vector<std::pair<std::string, std::string>> parameters = {
      {"precision.mode", v1::PrecisionSpec::Mode_Name(training.precision().mode())},
      {"model", KindOf(training.model())},
      {"data", KindOf(training.data().train())},
      {"optimizer", KindOf(training.optimizer())},
      {"learning_rate", NumberText(LearningRateOf(training.optimizer()))},
      {"schedule", KindOf(training.schedule())},
      {"batch_size", std::to_string(training.batch_size())},
      {"accumulation", std::to_string(training.accumulation())},
      {"max_grad_norm", NumberText(training.max_grad_norm())},
      {"seed", std::to_string(training.seed())}};
  if (training.has_iterations()) parameters.emplace_back("iterations", std::to_string(training.iterations()));
  if (training.has_epochs()) parameters.emplace_back("epochs", std::to_string(training.epochs()));
  std::erase_if(parameters, [](const auto& parameter) { return parameter.second.empty(); });
  return parameters;
}

}  // namespace mantissa::agent
