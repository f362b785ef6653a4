#include "server/core/worker_groups.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "server/core/placement.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr WorkerGroups::Burden kIdle{1, 0, 0};
constexpr WorkerGroups::Burden kTaken{0, 0, 1};

TEST(WorkerGroups, OfThoseThatAreAlikeOnlyTheFirstIsACandidate) {
  WorkerGroups groups;
  for (const char* id : {"c", "a", "b"}) groups.Put(id, "cpu", {}, kIdle);
  groups.Put("d", "gpu", {}, kIdle);
  EXPECT_THAT(groups.Candidates({}, "", false), ElementsAre("a", "d"));
  groups.Put("a", "cpu", {}, kTaken);
  EXPECT_THAT(groups.Candidates({}, "", false), ElementsAre("b", "d"));
  EXPECT_THAT(groups.Candidates({}, "", true), ElementsAre("a", "b", "d"));
  groups.Remove("b");
  EXPECT_THAT(groups.Candidates({}, "", false), ElementsAre("c", "d"));
}

TEST(WorkerGroups, NobodyIsACandidateWhereNothingIsFree) {
  WorkerGroups groups;
  EXPECT_FALSE(groups.AnyFree());
  groups.Put("a", "cpu", {"s"}, kTaken);
  EXPECT_FALSE(groups.AnyFree());
  EXPECT_THAT(groups.Candidates({}, "", false), IsEmpty());
  groups.Put("a", "cpu", {"s"}, kIdle);
  EXPECT_TRUE(groups.AnyFree());
  groups.Put("a", "cpu", {"s"}, kIdle);
  groups.Remove("a");
  EXPECT_FALSE(groups.AnyFree());
  groups.Remove("a");
  EXPECT_FALSE(groups.AnyFree());
}

TEST(WorkerGroups, WhereTheFirstIsKeptTheSecondIsACandidateToo) {
  WorkerGroups groups;
  for (const char* id : {"a", "b", "c"}) groups.Put(id, "cpu", {}, kIdle);
  EXPECT_THAT(groups.Candidates({}, "a", false), ElementsAre("a", "b"));
  EXPECT_THAT(groups.Candidates({}, "b", false), ElementsAre("a"));
}

TEST(WorkerGroups, TheFirstThatReachesAStorageIsACandidateBusyOrNot) {
  WorkerGroups groups;
  groups.Put("a", "cpu", {}, kIdle);
  groups.Put("b", "cpu", {"shared"}, kIdle);
  groups.Put("c", "cpu", {"own", "shared"}, kTaken);
  EXPECT_THAT(groups.Candidates({"own"}, "", false), ElementsAre("a", "c"));
  EXPECT_THAT(groups.Candidates({"shared"}, "", false), ElementsAre("a", "b", "c"));
  EXPECT_THAT(groups.Candidates({"nowhere"}, "", false), ElementsAre("a"));
  groups.Put("c", "cpu", {}, kTaken);
  EXPECT_THAT(groups.Candidates({"own"}, "", false), ElementsAre("a"));
}

TEST(WorkerGroups, AChangeOfKindStorageOrBurdenIsNoticed) {
  WorkerGroups groups;
  groups.Put("a", "cpu", {"s"}, kIdle);
  EXPECT_TRUE(groups.Holds("a", "cpu", {"s"}, kIdle));
  EXPECT_FALSE(groups.Holds("b", "cpu", {"s"}, kIdle));
  EXPECT_FALSE(groups.Holds("a", "gpu", {"s"}, kIdle));
  EXPECT_FALSE(groups.Holds("a", "cpu", {}, kIdle));
  EXPECT_FALSE(groups.Holds("a", "cpu", {"s"}, kTaken));
}

// A fleet of a few kinds, at any moment of its life.
struct Fleet {
  std::vector<WorkerView> workers;
  WorkerGroups groups;
};

Fleet RandomFleet(std::mt19937& random) {
  const auto pick = [&](int below) { return static_cast<int>(random() % below); };
  Fleet fleet;
  const int count = 1 + pick(12);
  for (int i = 0; i < count; ++i) {
    WorkerView& worker = fleet.workers.emplace_back();
    worker.id = absl::StrFormat("w-%02d", i);
    const int zone = pick(2), gpus = pick(3);
    worker.takes_work = pick(6) > 0;
    worker.labels["zone"] = std::to_string(zone);
    if (pick(2) == 0) worker.storage_ids.insert("shared");
    if (pick(2) == 0) worker.storage_ids.insert(worker.id);
    WorkerGroups::Burden burden;
    for (int d = 0; d <= gpus; ++d) {
      DeviceView& view = worker.devices.emplace_back();
      view.device.set_id(absl::StrCat("device-", d));
      view.device.set_kind(d == 0 ? v1::Device::CPU : v1::Device::CUDA);
      view.device.set_memory_bytes(d == 0 ? 4 : 100 * d);
      view.free = pick(2) == 0;
      if (view.free && worker.takes_work) burden.free |= uint64_t{1} << d;
      if (view.free) continue;
      RunningView& running = worker.running.emplace_back();
      running.device = static_cast<size_t>(d);
      running.memory_bytes = pick(3);
      if (pick(2) == 0) running.ends_within = std::chrono::milliseconds(100 * pick(4));
      worker.promised_memory_bytes += running.memory_bytes;
    }
    burden.promised_memory_bytes = worker.promised_memory_bytes;
    burden.running = worker.running.size();
    fleet.groups.Put(worker.id, absl::StrCat(worker.takes_work, "/", zone, "/", gpus), worker.storage_ids, burden);
  }
  return fleet;
}

JobNeeds RandomNeeds(std::mt19937& random) {
  const auto pick = [&](int below) { return static_cast<int>(random() % below); };
  JobNeeds needs;
  needs.device = std::vector{v1::ResourceSpec::AUTO, v1::ResourceSpec::CPU, v1::ResourceSpec::CUDA}[pick(3)];
  if (pick(2) == 0) needs.labels["zone"] = std::to_string(pick(3));
  needs.memory_bytes = pick(4);
  needs.gpu_memory_bytes = 100 * pick(3);
  if (pick(2) == 0) needs.storage_id = std::vector<std::string>{"shared", "w-03", "nowhere"}[pick(3)];
  needs.storage_optional = pick(2) == 0;
  return needs;
}

TEST(WorkerGroups, PlacementDecidesAlikeOverTheCandidatesAndOverAll) {
  constexpr unsigned kSeed = 20'261'127;
  std::mt19937 random(kSeed);
  int placed = 0, kept_from = 0;
  for (int round = 0; round < 20'000; ++round) {
    const Fleet fleet = RandomFleet(random);
    const JobNeeds needs = RandomNeeds(random);
    const std::set<std::string> storage_ids = {needs.storage_id};
    const auto views = [&](const std::string& kept, bool busy) {
      std::vector<WorkerView> chosen;
      const std::vector<std::string> ids = fleet.groups.Candidates(storage_ids, kept, busy);
      for (const WorkerView& worker : fleet.workers) {
        if (std::find(ids.begin(), ids.end(), worker.id) != ids.end()) chosen.push_back(worker);
      }
      return chosen;
    };

    PlacementSnapshot all{{{"job", needs, std::chrono::milliseconds(100)}}, fleet.workers};
    if (random() % 2 == 0) all.reserved = {"other", fleet.workers[random() % fleet.workers.size()].id};
    PlacementSnapshot few = all;
    few.workers = views(all.reserved ? all.reserved->worker_id : "", false);
    const auto of_all = ChoosePlacement(all), of_few = ChoosePlacement(few);
    ASSERT_EQ(of_all.has_value(), of_few.has_value()) << "round " << round << ", seed " << kSeed;
    if (of_all) {
      ASSERT_EQ(all.workers[of_all->worker].id, few.workers[of_few->worker].id) << "round " << round;
      ASSERT_EQ(of_all->device, of_few->device) << "round " << round;
      ASSERT_EQ(of_all->from_scratch, of_few->from_scratch) << "round " << round;
      ++placed;
      if (all.reserved) {
        PlacementSnapshot free = all;
        free.reserved.reset();
        if (all.workers[ChoosePlacement(free)->worker].id != all.workers[of_all->worker].id) ++kept_from;
      }
    }

    const std::vector<WorkerView> possible = views("", true);
    const auto reserved_of_all = ChooseReserved(needs, fleet.workers),
               reserved_of_few = ChooseReserved(needs, possible);
    ASSERT_EQ(reserved_of_all.has_value(), reserved_of_few.has_value()) << "round " << round;
    if (reserved_of_all) {
      ASSERT_EQ(fleet.workers[*reserved_of_all].id, possible[*reserved_of_few].id) << "round " << round;
    }
    ASSERT_EQ(FitsAnywhere(needs, fleet.workers), FitsAnywhere(needs, possible)) << "round " << round;
  }
  EXPECT_GT(placed, 1'000);
  EXPECT_GT(kept_from, 100);
}

}  // namespace
}  // namespace mantissa::server
