// Specs as text, and what validation says of them.
#pragma once

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "mantissa/v1/job.pb.h"
#include "proto/spec/validate.h"

namespace mantissa::spec {

// A good spec that names only a model and its data, with `changes` merged into it.
inline v1::JobSpec MlpSpec(const std::string& changes = "") {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "training { model { mlp { hidden: 128 } } data { train { synthetic {} } } }", &spec));
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(changes, &spec)) << changes;
  return spec;
}

inline v1::JobSpec SpecFrom(const std::string& text) {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

// `path REASON` of each violation, in order.
inline std::vector<std::string> Faults(const v1::JobSpec& spec) {
  std::vector<std::string> faults;
  for (const Violation& violation : ValidateJobSpec(spec)) {
    faults.push_back(violation.field_path + " " + std::string(ReasonName(violation.reason)));
    EXPECT_FALSE(violation.description.empty());
  }
  return faults;
}

// A change to the good spec, and the one fault it makes; no fault when empty.
struct Case {
  std::string changes;
  std::string fault;
};

inline void ExpectFaults(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    if (each.fault.empty()) {
      EXPECT_THAT(Faults(MlpSpec(each.changes)), testing::IsEmpty()) << each.changes;
    } else {
      EXPECT_THAT(Faults(MlpSpec(each.changes)), testing::ElementsAre(each.fault)) << each.changes;
    }
  }
}

}  // namespace mantissa::spec
