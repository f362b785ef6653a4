#include "server/store/group_commit.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "process/failpoint.h"
#include "process/log.h"
#include "process/mutex.h"

namespace mantissa::server {
namespace {

using process::Level;
using process::Log;

constexpr std::chrono::milliseconds kReloadInterval{1'000};

// What a caller is told of a transaction that did not happen: full is full, everything else is worth another try with
// the same request_id.
absl::Status ForCaller(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError("the server's disk is full; nothing was changed");
  }
  return absl::UnavailableError("the server could not store this; try again with the same request_id");
}

absl::Status Stopping() { return absl::UnavailableError("the server is stopping"); }

bool CertainlyRolledBack(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

// What the writer's thread says to one that waits for it.
class Answer {
 public:
  void Give(const absl::Status& status) {
    process::MutexLock lock(mutex_);
    status_ = status;
    changed_.NotifyAll();
  }

  absl::Status Await() {
    process::MutexLock lock(mutex_);
    while (!status_) changed_.Wait(mutex_);
    return *status_;
  }

 private:
  process::Mutex mutex_;
  process::CondVar changed_;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct GroupCommit::Impl {
  Impl(JobStore& store, std::function<std::unique_ptr<Scheduler>()> make_scheduler, const process::Clock& clock,
       std::vector<CommitListener*> listeners, GroupCommitOptions options)
      : store(store),
        make_scheduler(std::move(make_scheduler)),
        clock(clock),
        listeners(std::move(listeners)),
        options(options) {}

  Moment Now() const { return {clock.Now(), clock.WallNow()}; }
  absl::Status Load();
  void Run();
  // Commands that wait, or none when a deadline has come, or nothing at all when it is time to stop.
  bool Take(std::deque<Command>& batch);
  void RunQueries();
  void RunBatch(std::deque<Command>& batch);
  void RunReadOnly(std::deque<Command>& batch);
  void Probe();
  void Reload(const absl::Status& why);
  void LoadAgain();
  absl::Status Commit(const Changes& changes, size_t commands);

  JobStore& store;
  const std::function<std::unique_ptr<Scheduler>()> make_scheduler;
  const process::Clock& clock;
  const std::vector<CommitListener*> listeners;
  const GroupCommitOptions options;

  // Of the writer's thread alone, once it runs. Null while the state must be loaded anew.
  std::unique_ptr<Scheduler> scheduler;
  int64_t revision_floor = 0;
  std::chrono::steady_clock::time_point next_load{};
  std::chrono::steady_clock::time_point unreadable_since{};
  bool given_up = false;
  bool read_only = false;
  std::chrono::steady_clock::time_point next_probe{};
  std::thread thread;

  mutable process::Mutex mutex;
  process::CondVar wake;
  std::deque<Command> waiting ABSL_GUARDED_BY(mutex);
  std::deque<Query> queries ABSL_GUARDED_BY(mutex);
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  bool running ABSL_GUARDED_BY(mutex) = false;
};

GroupCommit::GroupCommit(JobStore& store, std::function<std::unique_ptr<Scheduler>()> make_scheduler,
                         const process::Clock& clock, std::vector<CommitListener*> listeners,
                         GroupCommitOptions options)
    : impl_(std::make_unique<Impl>(store, std::move(make_scheduler), clock, std::move(listeners), options)) {}

GroupCommit::~GroupCommit() { Stop(); }

absl::Status GroupCommit::Start() {
  absl::Status loaded = impl_->Load();
  if (!loaded.ok()) return loaded;
  {
    process::MutexLock lock(impl_->mutex);
    impl_->running = true;
  }
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
  return absl::OkStatus();
}

void GroupCommit::Stop() {
  std::deque<Command> left;
  std::deque<Query> unseen;
  {
    process::MutexLock lock(impl_->mutex);
    impl_->stopping = true;
    impl_->wake.NotifyAll();
    if (!impl_->running) left.swap(impl_->waiting);
    if (!impl_->running) unseen.swap(impl_->queries);
  }
  if (impl_->thread.joinable()) impl_->thread.join();
  for (Command& command : left) {
    if (command.done) command.done(Stopping());
  }
  for (Query& query : unseen) query.done(Stopping());
}

void GroupCommit::Submit(Command command) {
  {
    process::MutexLock lock(impl_->mutex);
    if (!impl_->stopping) {
      impl_->waiting.push_back(std::move(command));
      impl_->wake.NotifyOne();
      return;
    }
  }
  if (command.done) command.done(Stopping());
}

void GroupCommit::Read(Query query) {
  {
    process::MutexLock lock(impl_->mutex);
    if (!impl_->stopping) {
      impl_->queries.push_back(std::move(query));
      impl_->wake.NotifyOne();
      return;
    }
  }
  query.done(Stopping());
}

absl::Status GroupCommit::Commit(std::function<void(Scheduler&, Moment, Changes&)> decide) {
  Answer answer;
  Submit({std::move(decide), [&](const absl::Status& status) { answer.Give(status); }});
  return answer.Await();
}

absl::Status GroupCommit::Look(std::function<void(const Scheduler&, Moment)> look) {
  Answer answer;
  Read({std::move(look), [&](const absl::Status& status) { answer.Give(status); }});
  return answer.Await();
}

absl::Status GroupCommit::Impl::Load() {
  auto stored = store.Load();
  if (!stored.ok()) return stored.status();
  scheduler = make_scheduler();
  scheduler->Load(*std::move(stored), Now(), revision_floor);
  return absl::OkStatus();
}

void GroupCommit::Impl::Run() {
  std::deque<Command> batch;
  while (Take(batch)) {
    if (scheduler == nullptr && clock.Now() >= next_load) LoadAgain();
    if (scheduler != nullptr && read_only && clock.Now() >= next_probe) Probe();
    RunQueries();
    if (scheduler != nullptr && read_only) {
      RunReadOnly(batch);
    } else if (scheduler != nullptr) {
      RunBatch(batch);
    } else {
      for (Command& command : batch) {
        if (command.done) command.done(ForCaller(absl::UnavailableError("")));
      }
    }
    batch.clear();
  }
  for (Command& command : batch) {
    if (command.done) command.done(Stopping());
  }
  RunQueries();
}

void GroupCommit::Impl::RunQueries() {
  std::deque<Query> asked;
  {
    process::MutexLock lock(mutex);
    asked.swap(queries);
  }
  const Moment now = Now();
  for (Query& query : asked) {
    if (scheduler != nullptr) query.look(*scheduler, now);
    query.done(scheduler != nullptr ? absl::OkStatus()
                                    : absl::UnavailableError("the server reads its store; try again"));
  }
}

bool GroupCommit::Impl::Take(std::deque<Command>& batch) {
  const auto deadline = scheduler == nullptr ? next_load : read_only ? next_probe : scheduler->NextDeadline();
  process::MutexLock lock(mutex);
  while (waiting.empty() && queries.empty() && !stopping) {
    const auto now = clock.Now();
    if (deadline <= now) return true;
    if (deadline == std::chrono::steady_clock::time_point::max()) {
      wake.Wait(mutex);
    } else {
      wake.WaitFor(mutex, deadline - now);
    }
  }
  const size_t count = std::min(waiting.size(), stopping ? waiting.size() : static_cast<size_t>(options.max_batch));
  batch.insert(batch.end(), std::make_move_iterator(waiting.begin()), std::make_move_iterator(waiting.begin() + count));
  waiting.erase(waiting.begin(), waiting.begin() + count);
  return !stopping;
}

void GroupCommit::Impl::RunBatch(std::deque<Command>& batch) {
  const Moment now = Now();
  Changes changes;
  // Time first: what has run out by now has run out for these commands, too.
  if (scheduler->NextDeadline() <= now.steady) scheduler->Tick(now, changes);
  for (Command& command : batch) {
    if (command.decide) command.decide(*scheduler, now, changes);
  }
  scheduler->Place(now, changes);
  MANTISSA_FAILPOINT("commit.decided");

  absl::Status status = changes.NeedsCommit() ? Commit(changes, batch.size()) : absl::OkStatus();
  MANTISSA_FAILPOINT("commit.stored");
  if (status.ok()) {
    for (CommitListener* listener : listeners) listener->OnCommitted(changes);
    RunQueries();
  } else {
    Reload(status);
    status = ForCaller(status);
  }
  MANTISSA_FAILPOINT("commit.told");
  for (Command& command : batch) {
    if (command.done) command.done(status);
    MANTISSA_FAILPOINT("commit.replied");
  }
}

void GroupCommit::Impl::Reload(const absl::Status& why) {
  Log(Level::kError, "a transaction failed; the state is loaded again", {{"error", why}});
  // Revisions go on, so that workers notice.
  revision_floor = std::max(revision_floor, scheduler->LastRevision());
  scheduler.reset();
  next_load = unreadable_since = clock.Now();
  read_only = CertainlyRolledBack(why);
  next_probe = clock.Now() + options.probe_interval;
  if (read_only) Log(Level::kError, "nothing can be stored; reads go on, and it is tried again until it can");
}

void GroupCommit::Impl::LoadAgain() {
  const absl::Status loaded = Load();
  if (loaded.ok()) return Log(Level::kInfo, "state loaded again from the store");
  Log(Level::kError, "the store cannot be read yet", {{"error", loaded}});
  next_load = clock.Now() + kReloadInterval;
  // Another server has taken over: there is nothing to wait for.
  const bool hopeless = absl::IsFailedPrecondition(loaded);
  if (given_up || (!hopeless && clock.Now() < unreadable_since + options.give_up_after)) return;
  given_up = true;
  if (options.on_given_up) options.on_given_up(loaded);
}

void GroupCommit::Impl::Probe() {
  Changes probe;
  probe.probe = true;
  const absl::Status status = Commit(probe, 0);
  next_probe = clock.Now() + options.probe_interval;
  if (CertainlyRolledBack(status)) return;
  if (!status.ok()) return Reload(status);
  read_only = false;
  Log(Level::kInfo, "what changes can be stored again");
  // Time goes on from here, and nobody is to blame for what stood still.
  revision_floor = std::max(revision_floor, scheduler->LastRevision());
  scheduler.reset();
  next_load = unreadable_since = clock.Now();
  LoadAgain();
}

void GroupCommit::Impl::RunReadOnly(std::deque<Command>& batch) {
  for (Command& command : batch) {
    absl::Status status;
    if (command.when_read_only == WhenReadOnly::kRefuse) {
      status = absl::ResourceExhaustedError(
          "the server cannot store anything now, its disk may be full; nothing was changed");
    }
    if (command.done) command.done(status);
  }
}

absl::Status GroupCommit::Impl::Commit(const Changes& changes, size_t commands) {
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = store.Commit(changes);
  if (options.on_transaction) {
    options.on_transaction({status, static_cast<int64_t>(commands), std::chrono::steady_clock::now() - start,
                            CertainlyRolledBack(status)});
  }
  return status;
}

}  // namespace mantissa::server
