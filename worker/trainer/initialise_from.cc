#include "worker/trainer/initialise_from.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ATen.h>

#include "process/nearest_name.h"
#include "worker/checkpoint/checkpoint_store.h"
#include "worker/data/read_file.h"
#include "worker/trainer/run_checkpoints.h"
#include "worker/trainer/tensor_type.h"

namespace mantissa::trainer {
namespace {

constexpr std::size_t kMaxFaults = 16;
// A file may have a million names; the likeliest ones of our own models are far fewer.
constexpr std::size_t kMaxCandidates = 4096;

std::string ShapeText(at::IntArrayRef shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

std::string Guess(const std::string& name, const std::vector<std::string>& candidates, const char* where) {
  const std::string nearest = process::NearestName(name, candidates);
  return nearest.empty() ? "" : absl::StrCat(" (nearest in the ", where, ": ", nearest, ")");
}

// Collects what is wrong; words are made for the first few only, because guessing a name takes time.
class Faults {
 public:
  template <class Words>
  void Add(Words words) {
    if (texts_.size() < kMaxFaults) texts_.push_back(words());
    ++count_;
  }

  absl::Status status() const {
    if (count_ == 0) return absl::OkStatus();
    std::string text = absl::StrCat("training.init_from: ", absl::StrJoin(texts_, "; "));
    if (count_ > texts_.size()) absl::StrAppend(&text, "; and ", count_ - texts_.size(), " more");
    absl::StrAppend(&text,
                    ". Every tensor of the model must be in the source, and nothing else: use the model that made it, "
                    "or map its names in training.init_from.rename");
    return absl::FailedPreconditionError(text);
  }

 private:
  std::vector<std::string> texts_;
  std::size_t count_ = 0;
};

bool IsConvertible(TensorType from, at::ScalarType to) {
  if (ScalarTypeOf(from) == to) return true;
  return to == at::kFloat && (from == TensorType::kF16 || from == TensorType::kBF16 || from == TensorType::kF64);
}

// The source's tensors by our names.
std::map<std::string, const TensorView*> ByOurNames(const SafetensorsFile& source, const v1::InitFrom& init_from,
                                                    Faults& faults) {
  std::map<std::string, const TensorView*> named;
  std::set<std::string> renamed;
  for (const TensorView& view : source.tensors) {
    const auto rename = init_from.rename().find(view.name);
    if (rename != init_from.rename().end()) renamed.insert(view.name);
    const std::string& name = rename == init_from.rename().end() ? view.name : rename->second;
    const auto [other, is_new] = named.try_emplace(name, &view);
    if (is_new) continue;
    faults.Add([&] { return absl::StrCat(other->second->name, " and ", view.name, " both become ", name); });
  }
  std::vector<std::string> candidates;
  for (const TensorView& view : source.tensors) {
    if (candidates.size() < kMaxCandidates) candidates.push_back(view.name);
  }
  const std::map<std::string, std::string> renames(init_from.rename().begin(), init_from.rename().end());
  for (const auto& [from, to] : renames) {
    if (renamed.contains(from)) continue;
    faults.Add([&] {
      return absl::StrCat("rename names ", from, ", which the source does not have", Guess(from, candidates, "source"));
    });
  }
  return named;
}

// Names of the model that the source lacks, or of the source that the model lacks.
template <class Has, class Names>
std::vector<std::string> Lacking(const Names& names, Has has) {
  std::vector<std::string> lacking;
  for (const std::string& name : names) {
    if (!has(name) && lacking.size() < kMaxCandidates) lacking.push_back(name);
  }
  return lacking;
}

}  // namespace

absl::StatusOr<std::string> TakeTensors(const SafetensorsFile& source, const v1::InitFrom& init_from, RunState& state) {
  Faults faults;
  const std::map<std::string, const TensorView*> named = ByOurNames(source, init_from, faults);
  const std::vector<NamedTensor> live = state.View().model;
  std::vector<std::string> ours;
  for (const NamedTensor& tensor : live) ours.push_back(tensor.name);
  std::vector<std::string> theirs;
  for (const auto& [name, view] : named) theirs.push_back(name);
  const std::set<std::string> our_set(ours.begin(), ours.end());
  const std::vector<std::string> unknown =
      Lacking(theirs, [&](const std::string& name) { return our_set.contains(name); });
  const std::vector<std::string> missing = Lacking(ours, [&](const std::string& name) { return named.contains(name); });

  std::vector<at::Tensor> values;  // in the order of `live`
  std::map<std::string_view, int> converted;
  for (const NamedTensor& tensor : live) {
    const auto found = named.find(tensor.name);
    if (found == named.end()) {
      faults.Add([&] {
        return absl::StrCat(tensor.name, " ", ShapeText(tensor.tensor.sizes()), " is missing",
                            Guess(tensor.name, unknown, "source"));
      });
      continue;
    }
    const TensorView& view = *found->second;
    if (tensor.tensor.sizes() != at::IntArrayRef(view.shape)) {
      faults.Add([&] {
        return absl::StrCat(tensor.name, " is ", ShapeText(tensor.tensor.sizes()), " here and ", ShapeText(view.shape),
                            " in the source");
      });
      continue;
    }
    if (!IsConvertible(view.type, tensor.tensor.scalar_type())) {
      faults.Add([&] {
        return absl::StrCat(tensor.name, " is ", std::string(TensorTypeName(view.type)), " in the source and ",
                            c10::toString(tensor.tensor.scalar_type()), " here, and is not converted");
      });
      continue;
    }
    const at::ScalarType type = *ScalarTypeOf(view.type);
    // Copied, because in a file of somebody else it may lie at any byte.
    at::Tensor value = at::empty(view.shape, at::dtype(type));
    std::copy(view.bytes.begin(), view.bytes.end(), static_cast<char*>(value.mutable_data_ptr()));
    if (type != tensor.tensor.scalar_type()) {
      value = value.to(tensor.tensor.scalar_type());
      ++converted[TensorTypeName(view.type)];
    }
    if (value.is_floating_point() && !at::isfinite(value).all().item<bool>()) {
      faults.Add([&] { return absl::StrCat(tensor.name, " holds Inf or NaN, or values that FP32 cannot hold"); });
      continue;
    }
    values.push_back(std::move(value));
  }
  for (const auto& [name, view] : named) {
    if (our_set.contains(name)) continue;
    faults.Add([&, &name = name] {
      return absl::StrCat(name, " is not a tensor of the model", Guess(name, missing, "model"));
    });
  }
  if (absl::Status good = faults.status(); !good.ok()) return good;
  for (std::size_t i = 0; i < live.size(); ++i) live[i].tensor.detach().copy_(values[i]);
  std::vector<std::string> words;
  for (const auto& [type, count] : converted) {
    words.push_back(
        absl::StrCat(count, count == 1 ? " tensor" : " tensors", " converted from ", std::string(type), " to F32"));
  }
  return words.empty() ? std::string() : absl::StrCat(" (", absl::StrJoin(words, ", "), ")");
}

absl::StatusOr<std::string> InitialiseFrom(const v1::InitFrom& init_from, const InitialSources& sources,
                                           RunState& state) {
  if (init_from.source_case() == v1::InitFrom::kPath) {
    constexpr char kField[] = "training.init_from.path";
    auto bytes = ReadRootedFile(sources.roots, init_from.path(), kField, sources.max_bytes);
    if (!bytes.ok()) return bytes.status();
    auto file = ParseSafetensors(*bytes);
    if (!file.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(kField, ": ", file.status().message(), "; name a whole file in the safetensors format"));
    }
    auto converted = TakeTensors(*file, init_from, state);
    if (!converted.ok()) return converted.status();
    return absl::StrCat("parameters from ", init_from.path(), *converted);
  }
  const v1::Checkpoint* checkpoint = sources.checkpoint;
  if (checkpoint == nullptr) {
    return absl::NotFoundError(absl::StrCat("training.init_from.job_id: the checkpoint of job ", init_from.job_id(),
                                            " is not on this worker's storage; run the job where that one ran"));
  }
  const CheckpointStore store(sources.checkpoints, checkpoint->job_id());
  auto loaded = store.Load(checkpoint->path(), checkpoint->manifest_sha256(), kModelFile);
  const auto describe = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat("training.init_from: checkpoint ", checkpoint->name(), " of job ",
                                                    checkpoint->job_id(), " cannot be used: ", status.message(),
                                                    "; repair the storage, or name another step"));
  };
  if (!loaded.ok()) return describe(loaded.status());
  const auto file = loaded->files.find(kModelFile);
  if (file == loaded->files.end()) return describe(absl::DataLossError(absl::StrCat("it has no ", kModelFile)));
  auto converted = TakeTensors(file->second->tensors, init_from, state);
  if (!converted.ok()) return converted.status();
  return absl::StrCat("parameters from checkpoint ", checkpoint->name(), " (step ", checkpoint->step(), ") of job ",
                      checkpoint->job_id(), *converted);
}

}  // namespace mantissa::trainer
