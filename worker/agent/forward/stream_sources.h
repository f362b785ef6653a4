// Attempts that send on one standing stream.
#pragma once

#include <algorithm>
#include <map>
#include <utility>

#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"

namespace mantissa::agent {

// What is known of each of them, whatever it sends.
struct StreamSource {
  explicit StreamSource(v1::AttemptRef attempt) : ref(std::move(attempt)) {}

  v1::AttemptRef ref;
  bool open_sent = false;                                    // on the present stream
  bool opened = false;                                       // and answered
  bool unwanted = false;                                     // the lease is gone
  process::SteadyTime drop_at = process::SteadyTime::max();  // once it is closed
};

// Each is opened first on every new stream, then they send in turns; one that is closed is dropped when it has nothing
// left, and no later than at its time. `Source` is a StreamSource with
//   bool Empty() const          everything is acknowledged
//   SteadyTime DueAt() const    when what is unsent may go out, perhaps in the past; max() where nothing may
//   Request Open() const        what opens it
//   Request Next(SteadyTime)    what it sends now that it is due
// Not thread-safe.
template <class Key, class Source>
class StreamSources {
 public:
  // The one of this key, made of `arguments` where there was none.
  template <class... Arguments>
  Source& Add(const Key& key, Arguments&&... arguments) {
    return sources_.try_emplace(key, std::forward<Arguments>(arguments)...).first->second;
  }

  // Null where there is none.
  Source* Find(const Key& key) {
    const auto found = sources_.find(key);
    return found == sources_.end() ? nullptr : &found->second;
  }

  std::map<Key, Source>& all() { return sources_; }
  const std::map<Key, Source>& all() const { return sources_; }

  // Nothing that was sent on an earlier stream counts as sent.
  void Reopen() {
    for (auto& [key, source] : sources_) source.open_sent = source.opened = false;
  }

  void DropClosed(process::SteadyTime now) {
    std::erase_if(sources_, [now](const auto& entry) {
      const Source& source = entry.second;
      const bool closed = source.drop_at != process::SteadyTime::max();
      return closed && (source.unwanted || source.Empty() || now >= source.drop_at);
    });
  }

  bool Wanted() const {
    return std::any_of(sources_.begin(), sources_.end(), [](const auto& entry) { return !entry.second.unwanted; });
  }

  // Everything of every one is acknowledged, or nobody wants it.
  bool Drained() const {
    return std::all_of(sources_.begin(), sources_.end(), [](const auto& entry) { return Drained(entry.second); });
  }
  static bool Drained(const Source& source) { return source.unwanted || source.Empty(); }

  // When there is something to drop or, on a stream that is `ready`, to write.
  process::SteadyTime NextDeadline(bool ready) const {
    process::SteadyTime next = process::SteadyTime::max();
    for (const auto& [key, source] : sources_) {
      next = std::min(next, source.drop_at);
      if (source.drop_at != process::SteadyTime::max() && source.Empty()) return process::SteadyTime::min();
      if (!ready || source.unwanted) continue;
      if (!source.open_sent) return process::SteadyTime::min();
      if (source.opened) next = std::min(next, source.DueAt());
    }
    return next;
  }

  // Writes for as long as the stream is ready and there is something to write.
  template <class Stream>
  void WriteTo(Stream& stream, process::SteadyTime now) {
    while (stream.Ready()) {
      if (Source* const unopened = Unopened()) {
        unopened->open_sent = true;
        stream.Write(unopened->Open());
      } else if (Source* const due = NextDue(now)) {
        stream.Write(due->Next(now));
      } else {
        return;
      }
    }
  }

 private:
  Source* Unopened() {
    for (auto& [key, source] : sources_) {
      if (!source.open_sent && !source.unwanted) return &source;
    }
    return nullptr;
  }

  // The first that may send after the one that sent last, round the map.
  Source* NextDue(process::SteadyTime now) {
    auto next = sources_.upper_bound(last_);
    for (std::size_t i = 0; i < sources_.size(); ++i, ++next) {
      if (next == sources_.end()) next = sources_.begin();
      Source& source = next->second;
      const process::SteadyTime due = source.opened && !source.unwanted ? source.DueAt() : process::SteadyTime::max();
      if (due > now) continue;
      last_ = next->first;
      return &source;
    }
    return nullptr;
  }

  std::map<Key, Source> sources_;
  Key last_{};  // that sent
};

}  // namespace mantissa::agent
