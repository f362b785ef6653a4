#include "server/core/placement.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

DeviceView Cpu(const std::string& id = "cpu-0", int32_t threads = 4) {
  DeviceView view;
  view.device.set_id(id);
  view.device.set_kind(v1::Device::CPU);
  view.device.set_cpu_threads(threads);
  view.device.set_memory_bytes(1000);
  return view;
}

DeviceView Cuda(const std::string& id, int64_t memory, const std::string& capability = "9.0",
                const std::string& model = "NVIDIA H200") {
  DeviceView view;
  view.device.set_id(id);
  view.device.set_kind(v1::Device::CUDA);
  view.device.set_memory_bytes(memory);
  view.device.set_compute_capability(capability);
  view.device.set_model(model);
  return view;
}

WorkerView Worker(const std::string& id, std::vector<DeviceView> devices) {
  WorkerView worker;
  worker.id = id;
  worker.devices = std::move(devices);
  return worker;
}

std::optional<PlacementChoice> Choose(const JobNeeds& needs, const std::vector<WorkerView>& workers) {
  return ChoosePlacement({{{"job", needs}}, workers});
}

std::string Why(const JobNeeds& needs, const std::vector<WorkerView>& workers) {
  EXPECT_FALSE(Choose(needs, workers).has_value());
  return ExplainWait(needs, workers).message;
}

TEST(Placement, TakesJobsInOrderAndSkipsThoseThatDoNotFit) {
  JobNeeds cuda, cpu;
  cuda.device = v1::ResourceSpec::CUDA;
  cpu.device = v1::ResourceSpec::CPU;
  const PlacementSnapshot snapshot{{{"first", cuda}, {"second", cpu}, {"third", cpu}}, {Worker("w", {Cpu()})}};
  const auto choice = ChoosePlacement(snapshot);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->job, 1u);
  EXPECT_FALSE(choice->from_scratch);
}

TEST(Placement, NothingToPlaceAndNowhereToPlace) {
  EXPECT_FALSE(ChoosePlacement({}));
  EXPECT_FALSE(Choose(JobNeeds(), {}));
  EXPECT_THAT(Why(JobNeeds(), {}), HasSubstr("no worker is connected"));
  EXPECT_THAT(Why(JobNeeds(), {Worker("w", {})}), HasSubstr("w offers no device"));
}

TEST(Placement, AutoPrefersCudaAndFallsBackToCpu) {
  DeviceView busy = Cuda("cuda-0", 100);
  const JobNeeds needs;
  auto choice = Choose(needs, {Worker("a", {Cpu()}), Worker("b", {Cpu(), Cuda("cuda-0", 100)})});
  EXPECT_EQ(choice->worker, 1u);
  EXPECT_EQ(choice->device, 1u);
  busy.free = false;
  choice = Choose(needs, {Worker("b", {busy, Cpu()})});
  EXPECT_EQ(choice->device, 1u);
}

TEST(Placement, TakesTheTightestFit) {
  JobNeeds needs;
  needs.device = v1::ResourceSpec::CUDA;
  needs.gpu_memory_bytes = 50;
  const auto choice =
      Choose(needs, {Worker("a", {Cuda("cuda-0", 200), Cuda("cuda-1", 49)}), Worker("b", {Cuda("cuda-0", 80)})});
  EXPECT_EQ(choice->worker, 1u);
}

TEST(Placement, CpuJobsLeaveTheHostsOfGpusAlone) {
  JobNeeds needs;
  needs.device = v1::ResourceSpec::CPU;
  EXPECT_EQ(Choose(needs, {Worker("a", {Cpu(), Cuda("cuda-0", 1)}), Worker("b", {Cpu()})})->worker, 1u);
}

TEST(Placement, DeviceKindIsAConstraint) {
  JobNeeds cuda, cpu;
  cuda.device = v1::ResourceSpec::CUDA;
  cpu.device = v1::ResourceSpec::CPU;
  EXPECT_THAT(Why(cuda, {Worker("ws-1", {Cpu()})}), HasSubstr("needs a CUDA device (ws-1 has none)"));
  EXPECT_THAT(Why(cpu, {Worker("ws-1", {Cuda("cuda-0", 1)})}), HasSubstr("needs a CPU device (ws-1 offers none)"));
}

TEST(Placement, GpuRequirementsAreConstraints) {
  JobNeeds model, memory, capability;
  for (JobNeeds* needs : {&model, &memory, &capability}) needs->device = v1::ResourceSpec::CUDA;
  model.gpu_model = "B200";
  memory.gpu_memory_bytes = 101;
  capability.compute_capability = {9, 1};
  const std::vector<WorkerView> workers = {Worker("ws-1", {Cuda("cuda-0", 100), Cpu()})};
  EXPECT_THAT(Why(model, workers), HasSubstr("needs GPU model B200 (cuda-0 on ws-1 is NVIDIA H200)"));
  EXPECT_THAT(Why(memory, workers), HasSubstr("needs 101 bytes of GPU memory (cuda-0 on ws-1 has 100)"));
  EXPECT_THAT(Why(capability, workers), HasSubstr("needs compute capability 9.1 (cuda-0 on ws-1 has 9.0)"));
  model.gpu_model = "H200";
  memory.gpu_memory_bytes = 100;
  capability.compute_capability = {9, 0};
  EXPECT_TRUE(Choose(model, workers));
  EXPECT_TRUE(Choose(memory, workers));
  EXPECT_TRUE(Choose(capability, workers));
}

TEST(Placement, PrecisionAsksForDevicesThatHaveIt) {
  JobNeeds needs;
  needs.precisions = {v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16};
  DeviceView device = Cpu();
  device.device.add_precisions(v1::PrecisionSpec::FP16);
  EXPECT_THAT(Why(needs, {Worker("ws-1", {device})}), HasSubstr("needs precision BF16 (cpu-0 on ws-1 lacks it)"));
  device.device.add_precisions(v1::PrecisionSpec::BF16);
  EXPECT_TRUE(Choose(needs, {Worker("ws-1", {device})}));
}

TEST(Placement, WhereItMayBeEmulatedADeviceThatHasItIsBetter) {
  JobNeeds needs;
  needs.precisions = {v1::PrecisionSpec::TF32};
  DeviceView cpu = Cpu();
  cpu.device.add_precisions(v1::PrecisionSpec::FP32);
  DeviceView cuda = Cuda("cuda-0", 100);
  cuda.device.add_precisions(v1::PrecisionSpec::FP32);
  EXPECT_THAT(Why(needs, {Worker("ws-1", {cpu, cuda})}), HasSubstr("needs precision TF32"));
  needs.emulate = true;
  ASSERT_TRUE(Choose(needs, {Worker("ws-1", {cpu})}));
  EXPECT_EQ(Choose(needs, {Worker("ws-1", {cpu, cuda})})->device, 1u) << "a GPU before a CPU, as ever";
  cpu.device.add_precisions(v1::PrecisionSpec::TF32);
  EXPECT_EQ(Choose(needs, {Worker("ws-1", {cpu, cuda})})->device, 0u) << "but what has it before what has not";
}

TEST(Placement, AJobNeedsThePrecisionsOfItsModulesAndFallbacks) {
  v1::JobSpec spec;
  v1::PrecisionSpec& precision = *spec.mutable_training()->mutable_precision();
  precision.set_mode(v1::PrecisionSpec::FP16);
  precision.add_overrides()->set_compute(v1::PrecisionSpec::BF16);
  precision.add_overrides()->set_compute(v1::PrecisionSpec::FP16);
  precision.add_overrides()->set_match("head");  // says nothing of compute
  precision.set_on_failure(v1::PrecisionSpec::FAIL);
  precision.add_fallback(v1::PrecisionSpec::FP32);
  JobNeeds needs = NeedsOf(spec);
  EXPECT_EQ(needs.precisions, (std::vector{v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16}));
  EXPECT_EQ(needs.compute_capability, (ComputeCapability{8, 0}));
  EXPECT_FALSE(needs.emulate);
  precision.set_on_failure(v1::PrecisionSpec::FALLBACK);
  precision.set_emulate(true);
  needs = NeedsOf(spec);
  EXPECT_EQ(needs.precisions, (std::vector{v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16, v1::PrecisionSpec::FP32}));
  EXPECT_EQ(needs.compute_capability, (ComputeCapability{0, 0})) << "what lacks it will do";
  EXPECT_TRUE(needs.emulate);
  v1::JobSpec tf32;
  tf32.mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::TF32);
  EXPECT_EQ(NeedsOf(tf32).compute_capability, (ComputeCapability{8, 0}));
}

TEST(Placement, WhoWantsGraphsWantsAGpu) {
  v1::JobSpec spec;
  spec.mutable_resources()->set_device(v1::ResourceSpec::AUTO);
  spec.mutable_training()->mutable_execution()->set_mode(v1::ExecutionSpec::AUTO);
  EXPECT_EQ(NeedsOf(spec).device, v1::ResourceSpec::AUTO);
  spec.mutable_training()->mutable_execution()->set_mode(v1::ExecutionSpec::GRAPH);
  EXPECT_EQ(NeedsOf(spec).device, v1::ResourceSpec::CUDA);
}

TEST(Placement, CpuThreadsAndMemoryAreConstraints) {
  JobNeeds threads, memory;
  threads.cpu_threads = 5;
  memory.memory_bytes = 1001;
  EXPECT_THAT(Why(threads, {Worker("ws-1", {Cpu()})}), HasSubstr("needs 5 CPU threads (cpu-0 on ws-1 has 4)"));
  EXPECT_THAT(Why(memory, {Worker("ws-1", {Cpu()})}), HasSubstr("needs 1001 bytes of memory (ws-1 has 1000)"));
  threads.cpu_threads = 4;
  memory.memory_bytes = 1000;
  EXPECT_TRUE(Choose(threads, {Worker("ws-1", {Cpu()})}));
  EXPECT_TRUE(Choose(memory, {Worker("ws-1", {Cpu()})}));
}

TEST(Placement, MemoryThatOthersWerePromisedIsTaken) {
  JobNeeds needs;
  needs.memory_bytes = 600;
  WorkerView worker = Worker("ws-1", {Cpu("cpu-0"), Cpu("cpu-1")});
  worker.promised_memory_bytes = 401;
  EXPECT_THAT(Why(needs, {worker}), HasSubstr("every one that fits is taken"));
  worker.promised_memory_bytes = 400;
  EXPECT_TRUE(Choose(needs, {worker}));
}

TEST(Placement, LabelsMustBeThereAndEqual) {
  JobNeeds needs;
  needs.labels["zone"] = "a";
  WorkerView worker = Worker("ws-1", {Cpu()});
  EXPECT_THAT(Why(needs, {worker}), HasSubstr("needs label zone=a (ws-1 has no zone)"));
  worker.labels["zone"] = "b";
  EXPECT_THAT(Why(needs, {worker}), HasSubstr("needs label zone=a (ws-1 has zone=b)"));
  worker.labels["zone"] = "a";
  EXPECT_TRUE(Choose(needs, {worker}));
}

TEST(Placement, NeverGivesASpecToAWorkerThatWouldNotUnderstandIt) {
  JobNeeds needs;
  needs.features = {"data.text", "model.gpt"};
  WorkerView worker = Worker("ws-1", {Cpu()});
  worker.features = {"data.text"};
  EXPECT_EQ(Why(needs, {worker}), "needs feature model.gpt (ws-1 lacks it)");
  worker.features = {"data.text", "model.gpt", "model.mlp"};
  EXPECT_TRUE(Choose(needs, {worker}));
}

TEST(Placement, ADrainingOrSilentWorkerTakesNothing) {
  WorkerView worker = Worker("ws-1", {Cpu()});
  worker.takes_work = false;
  EXPECT_THAT(Why(JobNeeds(), {worker}), HasSubstr("ws-1 takes no work"));
}

TEST(Placement, SaysWhenAllThatFitAreBusy) {
  DeviceView device = Cpu();
  device.free = false;
  EXPECT_THAT(Why(JobNeeds(), {Worker("ws-1", {device})}), HasSubstr("every one that fits is taken"));
}

TEST(Placement, ACheckpointBindsTheJobToItsStorage) {
  JobNeeds needs;
  needs.storage_id = "disk-7";
  WorkerView near = Worker("near", {Cpu()}), far = Worker("far", {Cpu()});
  near.storage_ids = {"disk-7"};
  far.storage_ids = {"disk-1"};
  EXPECT_EQ(Choose(needs, {far, near})->worker, 1u);
  EXPECT_FALSE(Choose(needs, {far, near})->from_scratch);
  EXPECT_FALSE(Choose(needs, {far}));
  const WaitReason wait = ExplainWait(needs, {far});
  EXPECT_EQ(wait.reason, v1::Reason::CHECKPOINT_UNREACHABLE);
  EXPECT_THAT(wait.message, HasSubstr("disk-7"));

  // Near is there, and busy: the job waits for it.
  near.devices[0].free = false;
  EXPECT_THAT(Why(needs, {near}), HasSubstr("every one that fits is taken"));
  EXPECT_THAT(Why(needs, {far, near}), HasSubstr("every one that fits is taken"));
}

TEST(Placement, StartsFromScratchOnlyWhereTheJobSaidSo) {
  JobNeeds needs;
  needs.storage_id = "disk-7";
  needs.storage_optional = true;
  WorkerView near = Worker("near", {Cpu()}), far = Worker("far", {Cpu()});
  near.storage_ids = {"disk-7"};
  const auto choice = Choose(needs, {far});
  ASSERT_TRUE(choice);
  EXPECT_TRUE(choice->from_scratch);
  // While a worker that reaches it could take it, it waits for that one.
  near.devices[0].free = false;
  EXPECT_FALSE(Choose(needs, {far, near}));
}

TEST(Placement, ExplainsEachWorkerAndThenCounts) {
  JobNeeds needs;
  needs.labels["zone"] = "a";
  std::vector<WorkerView> workers;
  for (int i = 0; i < 6; ++i) workers.push_back(Worker("w" + std::to_string(i), {Cpu()}));
  const std::string why = Why(needs, workers);
  EXPECT_THAT(why, HasSubstr("w0"));
  EXPECT_THAT(why, HasSubstr("w3"));
  EXPECT_THAT(why, testing::Not(HasSubstr("w4")));
  EXPECT_THAT(why, HasSubstr("and 2 more workers"));
}

}  // namespace
}  // namespace mantissa::server
