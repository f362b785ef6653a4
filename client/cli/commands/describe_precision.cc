#include "client/cli/commands/describe_precision.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "client/cli/commands/submit.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/table.h"
#include "proto/spec/precision_report.h"

namespace mantissa::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string NameOf(spec::NumberFormat format) { return std::string(spec::FactsOf(format).name); }

constexpr spec::NumberFormat kFull = spec::NumberFormat::kFloat32;

std::string FormatAndSize(spec::NumberFormat format, std::int64_t bytes) {
  return absl::StrCat(NameOf(format), " ", SizeText(bytes));
}

std::string ModulesTable(const spec::PrecisionReport& report, bool keeps_moments, int width) {
  Table table({"MODULE", "TYPE", ">COUNT", ">PARAMETERS", ">READ AS", ">GRADIENTS", ">OPTIMIZER", "ACTIVATIONS"});
  for (const spec::ModulePrecision& row : report.modules) {
    const std::string type(spec::ModuleTypeName(row.type));
    const auto size = [&](spec::NumberFormat format, std::int64_t bytes) {
      return row.sizes_known ? FormatAndSize(format, bytes) : absl::StrCat(NameOf(format), " ?");
    };
    table.Add({row.path, row.modules > 1 ? absl::StrCat(row.modules, " x ", type) : type,
               row.sizes_known ? GroupedCount(row.parameters) : "?", size(kFull, row.parameter_bytes),
               spec::IsLow(row.weight_format) ? size(row.weight_format, row.weight_bytes) : NameOf(row.weight_format),
               size(kFull, row.gradient_bytes), keeps_moments ? size(kFull, row.optimizer_bytes) : "-",
               NameOf(row.activation_format)});
  }
  return table.Text(width);
}

// Of the modules without one of their own.
std::string OperationsTable(v1::PrecisionSpec::Mode mode, int width) {
  Table table({"OPERATION", "READS", "COMPUTES IN", "WRITES"});
  for (const spec::OpClass op : spec::kOpClasses) {
    const spec::OpPrecision precision = spec::PrecisionOf(op, mode);
    table.Add({std::string(spec::OpClassName(op)), precision.follows_operands ? "any" : NameOf(precision.input),
               NameOf(precision.compute),
               precision.follows_operands ? "the widest it read" : NameOf(precision.output)});
  }
  return table.Text(width);
}

// `23 % less than in FP32 (16.0 MiB)`
std::string AgainstFp32(std::int64_t bytes, std::int64_t fp32) {
  const double share = static_cast<double>(bytes) / static_cast<double>(fp32) - 1;
  const auto percent = static_cast<int>(std::lround(100 * std::fabs(share)));
  if (percent == 0) return absl::StrCat("as much as in FP32 (", SizeText(fp32), ")");
  return absl::StrCat(percent, " % ", share < 0 ? "less" : "more", " than in FP32 (", SizeText(fp32), ")");
}

std::string Summary(const v1::TrainingSpec& training, const spec::PrecisionReport& report) {
  const v1::PrecisionSpec& precision = training.precision();
  const std::string low = NameOf(spec::ComputeFormat(precision.mode()));
  const bool masters = precision.storage() == v1::PrecisionSpec::MASTER_FP32;
  std::string text = absl::StrCat("mode ", v1::PrecisionSpec::Mode_Name(precision.mode()));
  if (masters) {
    absl::StrAppend(&text, ": weights stored in ", low, " beside float32 masters");
  } else if (spec::IsLow(spec::ComputeFormat(precision.mode()))) {
    absl::StrAppend(&text, ": weights in float32, cast to ", low, " where they are used");
  }
  if (precision.overrides_size() > 0) {
    absl::StrAppend(&text, "; ", precision.overrides_size(),
                    precision.overrides_size() == 1 ? " override" : " overrides");
  }
  if (precision.emulate()) {
    absl::StrAppend(&text,
                    "\nEMULATED where the device has no arithmetic for it: operands rounded, products in float32");
  }
  absl::StrAppend(&text, "\nparameters ", SizeText(report.bytes.parameters), ", gradients ",
                  SizeText(report.bytes.gradients), ", optimizer state ", SizeText(report.bytes.optimizer_state));
  if (report.bytes.casts > 0) {
    absl::StrAppend(&text, ", ", precision.overrides_size() > 0 ? "low-precision" : low, " weights ",
                    SizeText(report.bytes.casts));
  }
  if (!report.sizes_known) {
    return absl::StrCat(text, "\nthe data's files decide what is marked ? and the activations; neither is counted\n");
  }
  const std::int64_t total = report.bytes.Total();
  return absl::StrCat(text, ", activations about ", SizeText(report.bytes.activations), "\n", SizeText(total),
                      " in all, ", AgainstFp32(total, report.fp32_bytes.Total()), "\n");
}

Json JsonOf(const spec::ModelBytes& bytes, bool activations_known) {
  Json json = {{"parameters", bytes.parameters},
               {"gradients", bytes.gradients},
               {"optimizer_state", bytes.optimizer_state},
               {"weights", bytes.casts}};
  if (activations_known) {
    json["activations"] = bytes.activations;
    json["total"] = bytes.Total();
  }
  return json;
}

Json ReportDocument(const v1::JobSpec& job, const spec::PrecisionReport& report) {
  const v1::PrecisionSpec& precision = job.training().precision();
  Json json = {{"name", job.name()},
               {"mode", v1::PrecisionSpec::Mode_Name(precision.mode())},
               {"storage", v1::PrecisionSpec::Storage_Name(precision.storage())},
               {"emulate", precision.emulate()},
               {"sizes_known", report.sizes_known}};
  const auto part = [](spec::NumberFormat format, std::int64_t bytes) {
    return Json{{"format", NameOf(format)}, {"bytes", bytes}};
  };
  json["modules"] = Json::array();
  for (const spec::ModulePrecision& row : report.modules) {
    json["modules"].push_back({{"path", row.path},
                               {"type", std::string(spec::ModuleTypeName(row.type))},
                               {"modules", row.modules},
                               {"sizes_known", row.sizes_known},
                               {"count", row.parameters},
                               {"parameters", part(kFull, row.parameter_bytes)},
                               {"weights", part(row.weight_format, row.weight_bytes)},
                               {"weights_stored", row.weight_stored},
                               {"gradients", part(kFull, row.gradient_bytes)},
                               {"optimizer_state", part(kFull, row.optimizer_bytes)},
                               {"activations", {{"format", NameOf(row.activation_format)}}}});
  }
  json["bytes"] = JsonOf(report.bytes, report.sizes_known);
  json["fp32_bytes"] = JsonOf(report.fp32_bytes, report.sizes_known);
  json["operations"] = Json::array();
  for (const spec::OpClass op : spec::kOpClasses) {
    const spec::OpPrecision table = spec::PrecisionOf(op, precision.mode());
    json["operations"].push_back({{"operation", std::string(spec::OpClassName(op))},
                                  {"reads", NameOf(table.input)},
                                  {"computes", NameOf(table.compute)},
                                  {"writes", NameOf(table.output)},
                                  {"follows_operands", table.follows_operands}});
  }
  return json;
}

}  // namespace

int DescribePrecision(const Context& context, const SpecSource& source) {
  const Console& console = context.console;
  const absl::StatusOr<v1::JobSpec> job = GoodSpec(source);
  if (!job.ok()) return console.Fail(job.status());
  if (job->has_study()) {
    return console.Fail(absl::FailedPreconditionError(
        "study: describe-precision is for what a job trains; the study memory_plan compares precisions"));
  }
  const v1::TrainingSpec& training = job->training();
  const spec::PrecisionReport report = spec::DescribePrecision(training);
  if (report.modules.empty()) {
    return console.Fail(
        absl::FailedPreconditionError("training.data: its files decide the shapes of this model's layers, and only a "
                                      "worker reads them; describe it with "
                                      "synthetic data of the same shape"));
  }
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, ReportDocument(*job, report).dump(2) + "\n");
    return kExitOk;
  }
  if (context.format == OutputFormat::kName) {
    for (const spec::ModulePrecision& row : report.modules) console.out.Write(row.path + "\n");
    return kExitOk;
  }
  // Never cut: a line that ends in a size must not lose its digits.
  console.out.Write(absl::StrCat(ModulesTable(report, spec::MomentsOf(training.optimizer()) > 0, 0), "\n",
                                 Summary(training, report), "\n", OperationsTable(training.precision().mode(), 0)));
  return kExitOk;
}

}  // namespace mantissa::cli
