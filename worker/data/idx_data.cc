#include "worker/data/idx_data.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ATen.h>

#include "worker/data/data_size.h"
#include "worker/data/feature_dataset.h"
#include "worker/data/idx_file.h"
#include "worker/data/read_file.h"

namespace mantissa::trainer {
namespace {

struct IdxFile {
  std::string bytes;
  IdxArray array;  // into bytes
};

absl::Status Named(std::string_view field, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(std::string(field), ": ", status.message()));
}

absl::StatusOr<std::unique_ptr<IdxFile>> ReadIdx(const std::string& path, const process::Roots& roots,
                                                 std::string_view field, std::int64_t max_bytes) {
  auto bytes = ReadRootedFile(roots, path, field, max_bytes);
  if (!bytes.ok()) return bytes.status();
  // On the heap before it is parsed, so that the view stays good.
  auto file = std::make_unique<IdxFile>(IdxFile{std::move(*bytes), {}});
  auto array = ParseIdx(file->bytes);
  if (!array.ok()) return Named(field, array.status());
  file->array = *std::move(array);
  return file;
}

absl::StatusOr<at::Tensor> Features(const IdxArray& images, double full_scale, const std::string& field,
                                    std::int64_t max_bytes) {
  if (images.sizes.size() != 2 && images.sizes.size() != 3) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": has ", images.sizes.size(), " dimensions (",
                                                   absl::StrJoin(images.sizes, " x "),
                                                   "); samples x features, or samples x rows x columns, are read"));
  }
  const auto count = static_cast<std::int64_t>(images.elements.size());
  if (absl::Status fits = CheckDataSize(SaturatingProduct(count, sizeof(float)), max_bytes, field, "use fewer samples");
      !fits.ok()) {
    return fits;
  }
  std::array<float, 256> scaled;
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = static_cast<float>(static_cast<double>(i) / full_scale);
  at::Tensor features = at::empty(images.sizes, at::kFloat);
  std::transform(images.elements.begin(), images.elements.end(), features.mutable_data_ptr<float>(),
                 [&](char byte) { return scaled[static_cast<unsigned char>(byte)]; });
  return features;
}

struct Labels {
  at::Tensor labels;
  std::int64_t classes = 0;
};

absl::StatusOr<Labels> ReadLabels(const IdxArray& array, std::optional<std::int64_t> classes,
                                  const std::string& field) {
  if (array.sizes.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": has ", array.sizes.size(), " dimensions (",
                                                   absl::StrJoin(array.sizes, " x "),
                                                   "); one label for each sample is read"));
  }
  at::Tensor labels = at::empty(array.sizes, at::kLong);
  std::int64_t* out = labels.mutable_data_ptr<std::int64_t>();
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < array.elements.size(); ++i) {
    out[i] = static_cast<unsigned char>(array.elements[i]);
    if (classes && out[i] >= *classes) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ": label ", out[i], " of sample ", i, " is out of range: with ", *classes, " classes it is 0 to ",
          *classes - 1, "; correct the file or set idx.classes of the training data"));
    }
    largest = std::max(largest, out[i]);
  }
  return Labels{labels, classes.value_or(largest + 1)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> LoadIdx(const v1::Idx& spec, std::optional<std::int64_t> classes,
                                                 const process::Roots& roots, std::string_view field,
                                                 std::int64_t max_bytes) {
  const std::string images_field = absl::StrCat(std::string(field), ".images");
  const std::string labels_field = absl::StrCat(std::string(field), ".labels");
  auto images = ReadIdx(spec.images(), roots, images_field, max_bytes);
  if (!images.ok()) return images.status();
  auto labels_file = ReadIdx(spec.labels(), roots, labels_field, max_bytes);
  if (!labels_file.ok()) return labels_file.status();
  const std::int64_t image_count = (*images)->array.sizes[0];
  const std::int64_t label_count = (*labels_file)->array.sizes[0];
  if (spec.has_classes()) classes = spec.classes();
  auto features = Features((*images)->array, spec.full_scale(), images_field, max_bytes);
  if (!features.ok()) return features.status();
  auto labels = ReadLabels((*labels_file)->array, classes, labels_field);
  if (!labels.ok()) return labels.status();
  if (image_count != label_count) {
    return absl::InvalidArgumentError(absl::StrCat(labels_field, ": holds ", label_count, " labels for ", image_count,
                                                   " samples; give the label file that belongs to ", spec.images()));
  }
  return std::make_unique<FeatureDataset>(*features, labels->labels, labels->classes);
}

}  // namespace mantissa::trainer
