// A job spec as a client sends it: validation says all that is wrong with it, and never fails itself. Of one that is
// good, all that is worked out from it before a worker sees it holds together.
#include <algorithm>
#include <string>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

#include "mantissa/v1/job.pb.h"
#include "proto/spec/defaults.h"
#include "proto/spec/features.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/precision_report.h"
#include "proto/spec/validate.h"
#include "tests/fuzz/hang_guard.h"
#include "tests/fuzz/message_mutator.h"

namespace mantissa::fuzz {
namespace {

// Maps in the order of their keys.
std::string Bytes(const v1::JobSpec& spec) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  spec.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

void Try(const v1::JobSpec& spec) {
  const std::vector<spec::Violation> violations = spec::ValidateJobSpec(spec);
  for (const spec::Violation& violation : violations) {
    Require(!violation.description.empty(), "a violation says what is wrong");
  }
  const v1::JobSpec resolved = spec::ResolveDefaults(spec);
  Require(Bytes(spec::ResolveDefaults(resolved)) == Bytes(resolved), "resolving twice changes nothing");
  if (!violations.empty()) return;
  Require(spec::ValidateJobSpec(resolved).empty(), "a good spec with its defaults written out is good");
  Require(!spec::RequiredFeatures(resolved).empty(), "a workload is a feature");
  if (!resolved.has_training()) return;
  if (const auto sample = spec::SampleShapeOf(resolved.training())) {
    spec::ValidateModelFits(resolved.training(), *sample);
  }
}

}  // namespace
}  // namespace mantissa::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  mantissa::v1::JobSpec spec;
  return mantissa::fuzz::MutateMessage(spec, data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mantissa::fuzz::HangGuard guard;
  mantissa::v1::JobSpec spec;
  if (spec.ParseFromArray(data, static_cast<int>(size))) mantissa::fuzz::Try(spec);
  return 0;
}
