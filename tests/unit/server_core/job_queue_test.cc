#include "server/core/job_queue.h"

#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

TEST(JobQueue, ServesByPriorityThenAge) {
  JobQueue queue;
  queue.Add("b", 0);
  queue.Add("a", 0);
  queue.Add("c", -5);
  queue.Add("d", 5);
  EXPECT_EQ(queue.Position("c"), 1);
  EXPECT_EQ(queue.Position("a"), 2);
  EXPECT_EQ(queue.Position("b"), 3);
  EXPECT_EQ(queue.Position("d"), 4);
  EXPECT_EQ(queue.Position("x"), 0);
  queue.Remove("a");
  EXPECT_EQ(queue.Position("b"), 2);
  EXPECT_EQ(queue.size(), 3);
}

TEST(JobQueue, OffersTheFirstOfEachClass) {
  JobQueue queue;
  JobNeeds cpu, cuda;
  cpu.device = v1::ResourceSpec::CPU;
  cuda.device = v1::ResourceSpec::CUDA;
  for (const char* id : {"a", "b", "c", "d"}) queue.Add(id, 0);
  EXPECT_FALSE(queue.HasReady());
  queue.MakeReady("b", cpu);
  queue.MakeReady("c", cuda);
  queue.MakeReady("d", cpu);
  auto heads = queue.Heads();
  ASSERT_EQ(heads.size(), 2u);
  EXPECT_EQ(heads[0]->second.ready.begin()->second, "b");
  EXPECT_EQ(heads[1]->second.ready.begin()->second, "c");
  queue.Remove("b");
  heads = queue.Heads();
  EXPECT_EQ(heads[0]->second.ready.begin()->second, "c");
  EXPECT_EQ(heads[1]->second.ready.begin()->second, "d");
  EXPECT_FALSE(queue.IsReady("a"));
  EXPECT_TRUE(queue.IsReady("d"));
  queue.Remove("c");
  queue.Remove("d");
  EXPECT_FALSE(queue.HasReady());
}

TEST(JobQueue, ClassesDifferWhereverNeedsDo) {
  const JobNeeds plain;
  auto differs = [&](auto change) {
    JobNeeds other;
    change(other);
    return other.ClassKey() != plain.ClassKey();
  };
  EXPECT_TRUE(differs([](JobNeeds& n) { n.device = v1::ResourceSpec::CUDA; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.precisions = {v1::PrecisionSpec::BF16}; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.emulate = true; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.cpu_threads = 1; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.memory_bytes = 1; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.labels["a"] = "b"; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.gpu_model = "H200"; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.gpu_memory_bytes = 1; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.compute_capability = {8, 0}; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.features = {"model.gpt"}; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.storage_id = "s"; }));
  EXPECT_TRUE(differs([](JobNeeds& n) { n.storage_optional = true; }));
  EXPECT_FALSE(differs([](JobNeeds&) {}));
}

TEST(ComputeCapability, ComparesAsNumbers) {
  EXPECT_LT(ParseComputeCapability("8.9"), ParseComputeCapability("10.0"));
  EXPECT_EQ(ParseComputeCapability("9"), (ComputeCapability{9, 0}));
  for (const char* bad : {"", "x", "8.", "8.x", "-1.0", "8.0.1", "99999999999.0"}) {
    EXPECT_EQ(ParseComputeCapability(bad), (ComputeCapability{0, 0})) << bad;
  }
}

}  // namespace
}  // namespace mantissa::server
