#include "proto/spec/module_precision.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"

#include "proto/spec/checker.h"
#include "proto/spec/module_match.h"
#include "proto/spec/precision_table.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

using Spec = v1::PrecisionSpec;

constexpr int kMaxOverrides = 1024;
constexpr char kAttention[] = "Attention";
constexpr std::string_view kQkv = ".qkv";

// Which override has the last word on each part of a module's format; nothing: the precision.
struct Deciders {
  std::optional<int> compute;
  std::optional<int> storage;
};

std::vector<Deciders> DecidersOf(const Spec& precision, const std::vector<ComputingModule>& modules) {
  std::vector<Deciders> deciders(modules.size());
  for (int i = 0; i < precision.overrides_size(); ++i) {
    const v1::PrecisionOverride& override = precision.overrides(i);
    const ModuleMatch match(override.match());
    for (std::size_t m = 0; m < modules.size(); ++m) {
      if (!match.Covers(modules[m].path, {modules[m].type})) continue;
      if (override.compute() != Spec::MODE_UNSPECIFIED) deciders[m].compute = i;
      if (override.storage() != Spec::STORAGE_UNSPECIFIED) deciders[m].storage = i;
    }
  }
  return deciders;
}

// What a module is asked to do, before one format is chosen for what is stored.
struct Wish {
  Spec::Mode compute;
  bool stored_low;
};

std::vector<Wish> WishesOf(const Spec& precision, const std::vector<Deciders>& deciders) {
  std::vector<Wish> wishes;
  for (const auto& [compute, storage] : deciders) {
    Wish wish{compute ? precision.overrides(*compute).compute() : precision.mode(), false};
    // Without a loss scale its gradients would vanish.
    if (wish.compute == Spec::FP16) wish.compute = precision.mode();
    const Spec::Storage stored = storage ? precision.overrides(*storage).storage() : precision.storage();
    wish.stored_low = stored == Spec::MASTER_FP32 && IsLow(ComputeFormat(wish.compute));
    wishes.push_back(wish);
  }
  return wishes;
}

std::optional<Spec::Mode> StoredMode(const Spec& precision, const std::vector<Wish>& wishes) {
  if (precision.storage() == Spec::MASTER_FP32 && IsLow(ComputeFormat(precision.mode()))) return precision.mode();
  const auto first = std::find_if(wishes.begin(), wishes.end(), [](const Wish& wish) { return wish.stored_low; });
  if (first == wishes.end()) return std::nullopt;
  return first->compute;
}

MatchableNames NamesOf(const std::vector<ComputingModule>& modules) {
  std::vector<std::string> paths;
  std::set<std::string> types;
  for (const ComputingModule& module : modules) {
    paths.push_back(module.path);
    types.emplace(module.type);
  }
  return {paths, {types.begin(), types.end()}};
}

bool IsTypeOfParameters(const std::string& match) {
  return match == ParameterKindName(ParameterKind::kWeight) || match == ParameterKindName(ParameterKind::kBias) ||
         match == ParameterKindName(ParameterKind::kNorm);
}

void CheckMatch(const std::string& match, Checker& checker) {
  if (match.empty()) {
    checker.Add("match", ViolationReason::kRequired, "is missing; name a path such as head, or a type such as Linear");
  } else if (const std::string fault = ModuleMatch::FaultOf(match); !fault.empty()) {
    checker.Add("match", ViolationReason::kInvalidFormat, absl::StrCat("is ", Shown(match), "; it ", fault));
  } else if (IsTypeOfParameters(match)) {
    checker.Add("match", ViolationReason::kUnknownValue,
                absl::StrCat("is ", match,
                             ", a type of parameters; a module computes: name a path such as head, or a "
                             "type such as Linear"));
  }
}

// One switch of a GPU holds for all of its FP32 products.
bool EverComputesInTf32(const Spec& precision) {
  return precision.mode() == Spec::TF32 ||
         std::find(precision.fallback().begin(), precision.fallback().end(), Spec::TF32) != precision.fallback().end();
}

void CheckCompute(const Spec& precision, Spec::Mode compute, Checker& checker) {
  if (!checker.KnownEnum("compute", compute, Spec::Mode_IsValid(compute))) return;
  if (compute == Spec::FP16 && precision.mode() != Spec::FP16) {
    checker.Add("compute", ViolationReason::kConflict,
                absl::StrCat("is FP16, but there is no loss scale in mode ", Spec::Mode_Name(precision.mode()),
                             "; use BF16, or mode FP16"));
  } else if (compute == Spec::TF32) {
    checker.Add("compute", ViolationReason::kConflict,
                "is TF32, but a GPU has one switch for all of its FP32 products; use mode TF32, or remove it");
  } else if (compute == Spec::FP32 && EverComputesInTf32(precision)) {
    checker.Add("compute", ViolationReason::kConflict,
                "is FP32, but a GPU has one switch for all of its FP32 products, and mode or fallback is TF32; use "
                "FP32 there, or remove it");
  }
}

// Storage that was asked for by name and can't be had, once for each override.
void CheckStorage(const Spec& precision, const std::vector<ComputingModule>& modules,
                  const std::vector<Deciders>& deciders, std::vector<Violation>& violations) {
  const std::vector<Wish> wishes = WishesOf(precision, deciders);
  const std::optional<Spec::Mode> stored = StoredMode(precision, wishes);
  std::set<int> said;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const std::optional<int> decider = deciders[m].storage;
    if (!decider || precision.overrides(*decider).storage() != Spec::MASTER_FP32) continue;
    const Spec::Mode compute = wishes[m].compute;
    if (wishes[m].stored_low && compute == stored) continue;
    if (!said.insert(*decider).second) continue;
    Checker checker(violations, Indexed("training.precision.overrides", *decider));
    const std::string is =
        absl::StrCat("is MASTER_FP32, but ", modules[m].path, " computes in ", Spec::Mode_Name(compute));
    if (!wishes[m].stored_low) {
      checker.Add("storage", ViolationReason::kConflict,
                  absl::StrCat(is,
                               ", whose weights are the masters themselves; use compute BF16 or FP16, or remove "
                               "storage"));
    } else {
      checker.Add("storage", ViolationReason::kConflict,
                  absl::StrCat(is, " while other weights are stored in ", Spec::Mode_Name(*stored),
                               ", and there is one format for what is stored; remove storage: weights are cast at use, "
                               "with the same bits"));
    }
  }
}

}  // namespace

ComputingModule ComputingModuleOf(const Parameter& parameter) {
  // The table of a gpt's tokens is its head's weight, too.
  if (parameter.kind == ParameterKind::kEmbedding) return {"head", ModuleTypeName(ModuleType::kLinear)};
  return {ModuleOf(parameter.path), ModuleTypeName(parameter.module)};
}

std::vector<ComputingModule> ComputingModules(const std::vector<Parameter>& parameters) {
  std::vector<ComputingModule> modules;
  std::optional<ComputingModule> tied;
  for (const Parameter& parameter : parameters) {
    if (!IsProductOperand(parameter)) continue;
    ComputingModule module = ComputingModuleOf(parameter);
    if (parameter.kind == ParameterKind::kEmbedding) {
      tied = std::move(module);  // it comes last
      continue;
    }
    const bool attends = module.path.ends_with(kQkv);
    modules.push_back(module);
    if (attends) modules.push_back({module.path.substr(0, module.path.size() - kQkv.size()), kAttention});
  }
  if (tied) modules.push_back(*std::move(tied));
  return modules;
}

std::vector<ModuleFormat> FormatsOf(const Spec& precision, const std::vector<ComputingModule>& modules) {
  const std::vector<Wish> wishes = WishesOf(precision, DecidersOf(precision, modules));
  const std::optional<Spec::Mode> stored = StoredMode(precision, wishes);
  std::vector<ModuleFormat> formats;
  for (const Wish& wish : wishes) formats.push_back({wish.compute, wish.stored_low && wish.compute == stored});
  return formats;
}

void CheckOverrides(const Spec& precision, Checker checker) {
  if (precision.overrides_size() > kMaxOverrides) {
    checker.Add("overrides", ViolationReason::kOutOfRange,
                absl::StrCat("has ", precision.overrides_size(), " entries; at most ", kMaxOverrides,
                             " are allowed: a match may cover many modules, such as blocks.*.attention"));
    return;
  }
  for (int i = 0; i < precision.overrides_size(); ++i) {
    const v1::PrecisionOverride& override = precision.overrides(i);
    Checker at = checker.Beneath(Indexed("overrides", i));
    CheckMatch(override.match(), at);
    if (override.compute() == Spec::MODE_UNSPECIFIED && override.storage() == Spec::STORAGE_UNSPECIFIED) {
      at.Add("", ViolationReason::kRequired, "changes nothing; give it a compute or a storage");
    }
    CheckCompute(precision, override.compute(), at);
    at.KnownEnum("storage", override.storage(), Spec::Storage_IsValid(override.storage()));
  }
}

std::vector<Violation> FindIdleOverrides(const Spec& precision, const std::vector<Parameter>& parameters) {
  std::vector<Violation> violations;
  if (precision.overrides_size() == 0) return violations;
  const std::vector<ComputingModule> modules = ComputingModules(parameters);
  const std::vector<Deciders> deciders = DecidersOf(precision, modules);
  std::optional<MatchableNames> names;
  for (int i = 0; i < precision.overrides_size(); ++i) {
    const ModuleMatch match(precision.overrides(i).match());
    const bool decides = std::any_of(deciders.begin(), deciders.end(), [&](const Deciders& of_module) {
      return of_module.compute == i || of_module.storage == i;
    });
    if (decides) continue;
    const std::string shown = Shown(precision.overrides(i).match());
    Checker checker(violations, Indexed("training.precision.overrides", i));
    if (std::any_of(modules.begin(), modules.end(),
                    [&](const ComputingModule& module) { return match.Covers(module.path, {module.type}); })) {
      checker.Add("", ViolationReason::kConflict,
                  absl::StrCat("changes nothing, because later overrides say otherwise for all that ", shown,
                               " covers; put what is general first, or remove it"));
      continue;
    }
    if (!names) names = NamesOf(modules);
    const std::string nearest = names->Nearest(precision.overrides(i).match());
    checker.Add("match", ViolationReason::kUnknownValue,
                absl::StrCat("is ", shown,
                             ", which covers no module of this model that computes (norms, embeddings and the loss "
                             "are always FP32); ",
                             nearest.empty() ? std::string("name a path such as head, or a type such as Linear")
                                             : absl::StrCat("the nearest is ", Shown(nearest))));
  }
  CheckStorage(precision, modules, deciders, violations);
  return violations;
}

}  // namespace mantissa::spec
