#include "server/core/checkpoint_policy.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<v1::Checkpoint> Checkpoints(const std::vector<bool>& finite) {
  std::vector<v1::Checkpoint> checkpoints;
  for (bool is_finite : finite) {
    v1::Checkpoint& checkpoint = checkpoints.emplace_back();
    checkpoint.set_name(CheckpointName(1, static_cast<int32_t>(checkpoints.size()) * 100));
    checkpoint.set_finite(is_finite);
  }
  return checkpoints;
}

TEST(CheckpointPolicy, KeepsTheNewestAndNeverFewerThanTwo) {
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({}), 2, ""), IsEmpty());
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({true, true}), 2, ""), IsEmpty());
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({true, true, true}), 2, ""), ElementsAre(0));
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({true, true, true}), 0, ""), ElementsAre(0));
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({true, true, true, true}), 3, ""), ElementsAre(0));
}

TEST(CheckpointPolicy, ANanRunNeverRotatesTheLastFiniteOneAway) {
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({true, true, false, false, false}), 2, ""), ElementsAre(0, 2));
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({false, false, false}), 2, ""), ElementsAre(0));
}

TEST(CheckpointPolicy, KeepsWhatARunningAttemptMayStillRead) {
  EXPECT_THAT(DeletableCheckpoints(Checkpoints({true, true, true, true}), 2, CheckpointName(1, 100)), ElementsAre(1));
}

TEST(CheckpointPolicy, AJobBeginsFromTheNewestFiniteOneThatStays) {
  std::vector<v1::Checkpoint> checkpoints = Checkpoints({true, true, true, false});
  for (size_t i = 0; i < checkpoints.size(); ++i) checkpoints[i].set_step(static_cast<int32_t>(i + 1) * 100);
  const auto step_of = [&](const std::vector<size_t>& deletable, int32_t step) {
    const v1::Checkpoint* chosen = ChooseInitial(checkpoints, deletable, step);
    return chosen == nullptr ? 0 : chosen->step();
  };
  EXPECT_EQ(step_of({}, 0), 300) << "400 is not finite";
  EXPECT_EQ(step_of({}, 200), 200);
  EXPECT_EQ(step_of({}, 400), 0);
  EXPECT_EQ(step_of({}, 250), 0);
  EXPECT_EQ(step_of({1, 2}, 0), 100) << "what may be deleted does not count";
  EXPECT_EQ(step_of({1, 2}, 200), 0);
  EXPECT_EQ(ChooseInitial({}, {}, 0), nullptr);
}

TEST(CheckpointPolicy, NamesAreStable) { EXPECT_EQ(CheckpointName(1, 200), "attempt-0001/step-00000200"); }

TEST(CheckpointPolicy, RefusesPathsThatLeaveTheRoot) {
  EXPECT_TRUE(IsSaneRelativePath("a/b.c/d"));
  EXPECT_TRUE(IsSaneRelativePath("..a/b.."));
  for (const std::string& bad :
       {std::string(""), std::string("/a"), std::string("a//b"), std::string("a/"), std::string("."),
        std::string("a/./b"), std::string("../a"), std::string("a/.."), std::string("a\0b", 3), std::string("a\nb"),
        std::string("a\\b"), std::string(300, 'a'), std::string("a/") + std::string(256, 'b')}) {
    EXPECT_FALSE(IsSaneRelativePath(bad, 1024)) << bad;
  }
  EXPECT_TRUE(IsSaneRelativePath(std::string(255, 'a'), 255));
  EXPECT_FALSE(IsSaneRelativePath("aaaa", 3));
}

// What CheckpointStore calls the last state of a run whose last iterations were skipped, for one.
TEST(CheckpointPolicy, TakesASecondCheckpointAtAStepByTheNameOfItsIteration) {
  v1::Checkpoint second;
  second.set_attempt(1);
  second.set_step(5);
  second.set_iteration(6);
  second.set_name("attempt-0001/step-00000005-iteration-00000006");
  second.set_storage_id("s");
  second.set_job_id("j");
  second.set_path("j/attempt-0001/step-00000005-iteration-00000006");
  second.set_manifest_sha256(std::string(64, '0'));
  EXPECT_TRUE(CheckCheckpoint(second).ok());
  second.set_iteration(7);
  EXPECT_FALSE(CheckCheckpoint(second).ok());
}

TEST(CheckpointPolicy, NamesTheFieldThatIsWrong) {
  v1::Checkpoint good;
  good.set_attempt(1);
  good.set_step(5);
  good.set_iteration(6);
  good.set_name(CheckpointName(1, 5));
  good.set_storage_id("s");
  good.set_job_id("j");
  good.set_path("j/" + good.name());
  good.set_manifest_sha256(std::string(64, '0'));
  EXPECT_TRUE(CheckCheckpoint(good).ok());
  auto message = [&](auto change) {
    v1::Checkpoint bad = good;
    change(bad);
    return std::string(CheckCheckpoint(bad).message());
  };
  using testing::HasSubstr;
  EXPECT_THAT(message([](auto& c) { c.set_step(-1); }), HasSubstr("checkpoint.step"));
  EXPECT_THAT(message([](auto& c) { c.set_iteration(4); }), HasSubstr("checkpoint.iteration"));
  EXPECT_THAT(message([](auto& c) { c.set_name("../../x"); }), HasSubstr("checkpoint.name"));
  EXPECT_THAT(message([](auto& c) { c.clear_storage_id(); }), HasSubstr("checkpoint.storage_id"));
  EXPECT_THAT(message([](auto& c) { c.set_path("another/" + c.name()); }), HasSubstr("checkpoint.path: must be \"j/"));
  EXPECT_THAT(message([](auto& c) { c.set_size_bytes(-1); }), HasSubstr("checkpoint.size_bytes"));
  EXPECT_THAT(message([](auto& c) { c.set_manifest_sha256(std::string(64, 'G')); }), HasSubstr("manifest_sha256"));
  EXPECT_THAT(message([](auto& c) { c.set_manifest_sha256("00"); }), HasSubstr("manifest_sha256"));
}

}  // namespace
}  // namespace mantissa::server
