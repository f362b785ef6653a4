#include "server/core/job_terms.h"

#include "gtest/gtest.h"

#include "server/core/proto_time.h"

namespace mantissa::server {
namespace {

using std::chrono::seconds;

TEST(JobTerms, SpecsComeBackAsTheyWere) {
  v1::JobSpec spec, resolved;
  spec.set_name("digits");
  resolved.set_name("digits");
  resolved.set_priority(7);
  (*resolved.mutable_labels())["team"] = "vision";
  v1::Job head;
  head.set_id("01h");
  head.set_state(v1::Job::RUNNING);
  const std::string specs = EncodeSpecs(spec, resolved);
  const v1::Job whole = WithSpecs(head, specs);
  EXPECT_EQ(whole.id(), "01h");
  EXPECT_EQ(whole.state(), v1::Job::RUNNING);
  EXPECT_EQ(whole.spec().SerializeAsString(), spec.SerializeAsString());
  EXPECT_EQ(whole.resolved_spec().labels().at("team"), "vision");
  EXPECT_EQ(ResolvedSpec(specs).priority(), 7);
}

TEST(JobTerms, AnEmptySpecIsStillOne) {
  const v1::Job whole = WithSpecs({}, EncodeSpecs({}, {}));
  EXPECT_TRUE(whole.has_spec());
  EXPECT_TRUE(whole.has_resolved_spec());
}

TEST(JobTerms, AStudyIsToldFromATraining) {
  v1::JobSpec spec;
  EXPECT_EQ(TermsOf(spec).study, v1::StudySpec::KIND_NOT_SET);
  spec.mutable_study()->mutable_memory_plan();
  EXPECT_EQ(TermsOf(spec).study, v1::StudySpec::kMemoryPlan);
}

TEST(JobTerms, WhatIsNotSaidOfTimeIsNoLimitButForStartsAndStalls) {
  const JobTerms unsaid = TermsOf({});
  EXPECT_EQ(unsaid.timeouts.queue, kLongestDuration);
  EXPECT_EQ(unsaid.timeouts.attempt, kLongestDuration);
  EXPECT_EQ(unsaid.timeouts.total, kLongestDuration);
  EXPECT_EQ(unsaid.timeouts.start, seconds(60));
  EXPECT_EQ(unsaid.timeouts.stall, seconds(300));

  v1::JobSpec spec;
  spec.set_priority(-3);
  spec.mutable_training()->mutable_checkpoint()->set_keep(5);
  Set(spec.mutable_timeouts()->mutable_queue(), seconds(1));
  Set(spec.mutable_timeouts()->mutable_attempt(), seconds(2));
  Set(spec.mutable_timeouts()->mutable_total(), seconds(3));
  Set(spec.mutable_timeouts()->mutable_start(), seconds(4));
  Set(spec.mutable_timeouts()->mutable_stall(), seconds(5));
  const JobTerms said = TermsOf(spec);
  EXPECT_EQ(said.priority, -3);
  EXPECT_EQ(said.keep_checkpoints, 5);
  EXPECT_EQ(said.timeouts.queue, seconds(1));
  EXPECT_EQ(said.timeouts.attempt, seconds(2));
  EXPECT_EQ(said.timeouts.total, seconds(3));
  EXPECT_EQ(said.timeouts.start, seconds(4));
  EXPECT_EQ(said.timeouts.stall, seconds(5));
}

TEST(JobTermsDeathTest, BytesThatAreNoSpecsEndTheProcess) { EXPECT_DEATH(WithSpecs({}, "\x1a\xff"), "are no specs"); }

}  // namespace
}  // namespace mantissa::server
