// A training that advice is given of, for tests.
#pragma once

#include <string>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "mantissa/v1/job.pb.h"
#include "proto/spec/defaults.h"

namespace mantissa::cli {

// A small mlp on synthetic data, `training` merged into it, with its defaults.
inline v1::JobSpec AdvisedJob(const std::string& training) {
  v1::JobSpec job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("name: 'wide' training {" + training + "}", &job))
      << training;
  if (!job.training().has_data()) job.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
  if (!job.training().has_model()) job.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(1001);
  return spec::ResolveDefaults(job);
}

}  // namespace mantissa::cli
