#include "proto/spec/parameter_groups.h"

#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"

#include "proto/spec/checker.h"
#include "proto/spec/module_match.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr int kMaxGroups = 64;
// Rates further apart are a slip of the pen, and their ratio would not be a number that a step can be multiplied by.
constexpr double kMaxRatio = 1e12;

// Which group has the last word on each of a parameter's settings; nothing: the optimizer.
struct Deciders {
  std::optional<int> learning_rate;
  std::optional<int> weight_decay;
};

std::vector<Deciders> DecidersOf(const ParameterGroups& groups, const std::vector<Parameter>& parameters) {
  std::vector<Deciders> deciders(parameters.size());
  for (int i = 0; i < groups.size(); ++i) {
    const v1::ParameterGroup& group = groups[i];
    const ModuleMatch match(group.match());
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      if (!match.Covers(parameters[p])) continue;
      if (group.has_learning_rate()) deciders[p].learning_rate = i;
      if (group.has_weight_decay()) deciders[p].weight_decay = i;
    }
  }
  return deciders;
}

// Paths and types of parameters, for a match that covers none of them.
MatchableNames NamesOf(const std::vector<Parameter>& parameters) {
  std::vector<std::string> paths;
  std::set<std::string> types;
  for (const Parameter& parameter : parameters) {
    paths.push_back(parameter.path);
    types.emplace(ModuleTypeName(parameter.module));
    types.emplace(ParameterKindName(parameter.kind));
  }
  return {paths, {types.begin(), types.end()}};
}

std::string CoversNothing(const std::string& pattern, const MatchableNames& names) {
  const std::string nearest = names.Nearest(pattern);
  return absl::StrCat("is ", Shown(pattern), ", which covers no parameter of this model; ",
                      nearest.empty() ? std::string("name a path such as head, or a type such as Weight")
                                      : absl::StrCat("the nearest is ", Shown(nearest)));
}

void CheckGroup(const v1::ParameterGroup& group, double optimizer_rate, Checker checker) {
  if (group.match().empty()) {
    checker.Add("match", ViolationReason::kRequired, "is missing; name a path such as head, or a type such as Norm");
  } else if (const std::string fault = ModuleMatch::FaultOf(group.match()); !fault.empty()) {
    checker.Add("match", ViolationReason::kInvalidFormat, absl::StrCat("is ", Shown(group.match()), "; it ", fault));
  }
  if (!group.has_learning_rate() && !group.has_weight_decay()) {
    checker.Add("", ViolationReason::kRequired, "changes nothing; give it a learning_rate or a weight_decay");
  }
  if (group.has_learning_rate() &&
      checker.Number("learning_rate", group.learning_rate(), {.min = 0, .max = 1000}, "1e-4") && optimizer_rate > 0 &&
      group.learning_rate() / optimizer_rate > kMaxRatio) {
    checker.Add(
        "learning_rate", ViolationReason::kConflict,
        absl::StrCat("is ", group.learning_rate(), ", more than ", kMaxRatio, " times the optimizer's, which is ",
                     optimizer_rate, "; lower it, or raise the optimizer's"));
  }
  if (group.has_weight_decay()) {
    checker.Number("weight_decay", group.weight_decay(), {.min = 0, .max = 1000}, "0.01");
  }
}

}  // namespace

UpdateSettings OptimizerUpdate(const v1::OptimizerSpec& optimizer) {
  switch (optimizer.kind_case()) {
    case v1::OptimizerSpec::kSgd:
      return {optimizer.sgd().learning_rate(), optimizer.sgd().weight_decay()};
    case v1::OptimizerSpec::kAdam:
      return {optimizer.adam().learning_rate(), optimizer.adam().weight_decay()};
    case v1::OptimizerSpec::kAdamw:
    case v1::OptimizerSpec::KIND_NOT_SET:
      break;
  }
  return {optimizer.adamw().learning_rate(), optimizer.adamw().weight_decay()};
}

std::vector<UpdateSettings> ParameterUpdates(const v1::OptimizerSpec& optimizer, const ParameterGroups& groups,
                                             const std::vector<Parameter>& parameters) {
  const UpdateSettings general = OptimizerUpdate(optimizer);
  const std::vector<Deciders> deciders = DecidersOf(groups, parameters);
  std::vector<UpdateSettings> updates;
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    UpdateSettings update = general;
    if (!IsDecayed(parameters[p].kind)) update.weight_decay = 0;
    const auto& [learning_rate, weight_decay] = deciders[p];
    if (learning_rate) update.learning_rate = groups[*learning_rate].learning_rate();
    if (weight_decay) update.weight_decay = groups[*weight_decay].weight_decay();
    updates.push_back(update);
  }
  return updates;
}

void CheckParameterGroups(const v1::TrainingSpec& training, Checker checker) {
  if (training.parameter_groups_size() > kMaxGroups) {
    checker.Add("parameter_groups", ViolationReason::kOutOfRange,
                absl::StrCat("has ", training.parameter_groups_size(), " groups; at most ", kMaxGroups,
                             " are allowed: a match may cover many parameters, such as blocks.*.attention"));
    return;
  }
  const double optimizer_rate = OptimizerUpdate(training.optimizer()).learning_rate;
  for (int i = 0; i < training.parameter_groups_size(); ++i) {
    CheckGroup(training.parameter_groups(i), optimizer_rate, checker.Beneath(Indexed("parameter_groups", i)));
  }
}

std::vector<Violation> FindIdleGroups(const ParameterGroups& groups, const std::vector<Parameter>& parameters) {
  std::vector<Violation> violations;
  std::optional<MatchableNames> names;
  const std::vector<Deciders> deciders = DecidersOf(groups, parameters);
  for (int i = 0; i < groups.size(); ++i) {
    const ModuleMatch match(groups[i].match());
    bool covers = false;
    bool decides = false;
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      covers = covers || match.Covers(parameters[p]);
      decides = decides || deciders[p].learning_rate == i || deciders[p].weight_decay == i;
    }
    if (decides) continue;
    Checker checker(violations, Indexed("training.parameter_groups", i));
    if (covers) {
      checker.Add("", ViolationReason::kConflict,
                  absl::StrCat("changes nothing, because later groups override it for all that ",
                               Shown(groups[i].match()), " covers; put what is general first, or remove it"));
      continue;
    }
    if (!names) names = NamesOf(parameters);
    checker.Add("match", ViolationReason::kUnknownValue, CoversNothing(groups[i].match(), *names));
  }
  return violations;
}

}  // namespace mantissa::spec
