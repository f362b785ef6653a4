// Watchers of one job, and the worker whose records they see, in one process. One JSON object on stdout.
//
//   bench_fanout_client ADDRESS flat WATCHERS CONNECTIONS SECONDS
//       Records are published as fast as they become durable and the slowest watcher is no more than kMaxLag behind:
//       all of them live from the ring. Entries delivered a second, over all watchers.
//   bench_fanout_client ADDRESS paced WATCHERS CONNECTIONS SECONDS RECORDS_PER_S
//       The same at a given rate, and how old records are when a watcher has them: every 32nd of each frame.
//   bench_fanout_client ADDRESS stalled WATCHERS CONNECTIONS SECONDS STALLED STALLED_CONNECTIONS PAIRS
//       Flat out in windows in turn: without and with as many watchers more who never read.
//   bench_fanout_client ADDRESS trained JOB_ID SECONDS STALLED STALLED_CONNECTIONS PAIRS
//       The same of a job that is trained elsewhere and has one watcher who reads; and how old the oldest record of a
//       frame is when he has it, while the others don't read theirs.
//   bench_fanout_client ADDRESS floor WATCHERS CONNECTIONS SECONDS
//       The watchers alone, of a server that needs no worker (fanout_floor.cc).
//
// A watcher does not parse its frames, it counts what they answer for; the first one parses all of them and checks that
// their records say what was published.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include <grpcpp/support/proto_buffer_reader.h>

#include "fake_worker.h"
#include "frame_readers.h"
#include "mantissa/v1/job_service.grpc.pb.h"
#include "record_batch.h"
#include "telemetry_source.h"

namespace {

using namespace mantissa;
using namespace mantissa::bench;
using Clock = std::chrono::steady_clock;
using std::chrono::duration;

// A ring of the server keeps a job's newest MiB, some fifty batches.
constexpr std::int64_t kMaxLag = 32 * kBatchRows;
constexpr std::chrono::seconds kWarmUp{1};
constexpr std::int64_t kRowsPerAge = 32;
constexpr std::chrono::microseconds kLook{100};  // between looks at how far watchers are

std::int64_t UnixNanos() { return std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

// Counts tenths of milliseconds. Thread-safe.
class Histogram {
 public:
  void Add(double ms) {
    const std::size_t at = std::min(counts_.size() - 1, static_cast<std::size_t>(std::max(0.0, ms * 10)));
    counts_[at].fetch_add(1, std::memory_order_relaxed);
  }
  void Clear() {
    for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  }
  double Quantile(double q) const {
    std::uint64_t all = 0, below = 0;
    for (const auto& count : counts_) all += count.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      below += counts_[i].load(std::memory_order_relaxed);
      if (static_cast<double>(below) >= q * static_cast<double>(all)) return static_cast<double>(i + 1) / 10;
    }
    return 0;
  }

 private:
  std::array<std::atomic<std::uint64_t>, 100'000> counts_{};
};

struct Delivered {
  double entries_per_s = 0, frames_per_s = 0;
};

class Fanout {
 public:
  Fanout(const std::string& address, int watchers, int connections) : source_(address) {
    Publish(UnixNanos(), 1e3);
    source_.WaitDurable(source_.sent_through());
    readers_ = std::make_unique<FrameReaders>(
        address, source_.job_id(), watchers, connections,
        [this](int watcher, const Covers& covers, const grpc::ByteBuffer& frame) { Seen(watcher, covers, frame); });
    while (offset_.load() < 0 || readers_->slowest() < offset_.load() + source_.sent_through()) {
      std::this_thread::sleep_for(kLook);
    }
  }

  const std::string& job_id() const { return source_.job_id(); }
  const Histogram& ages() const { return ages_; }

  Delivered Flat(duration<double> time) {
    return Window(time, [this] {
      while (source_.sent_through() + offset_.load() - readers_->slowest() > kMaxLag) {
        std::this_thread::sleep_for(kLook);
      }
      Publish(UnixNanos(), 1e3);
    });
  }

  Delivered Paced(duration<double> time, double records_per_s) {
    const double interval = 1e9 / records_per_s;
    // Of the record after the newest.
    std::int64_t next = UnixNanos();
    paced_first_ = source_.sent_through() + 1;
    paced_begin_ = next;
    paced_interval_.store(interval);
    return Window(time, [this, &next, interval] {
      const std::int64_t begin = next;
      next += static_cast<std::int64_t>(kBatchRows * interval);
      std::this_thread::sleep_for(std::chrono::nanoseconds(next - UnixNanos()));
      Publish(begin, interval);
    });
  }

 private:
  // Of `time` after a warm-up, in which `publish_one` is called over and over.
  template <class PublishOne>
  Delivered Window(duration<double> time, const PublishOne& publish_one) {
    const auto run = [&](Clock::time_point end) {
      while (Clock::now() < end) publish_one();
    };
    run(Clock::now() + kWarmUp);
    ages_.Clear();
    const Clock::time_point began = Clock::now();
    const std::int64_t entries = readers_->entries(), frames = readers_->frames();
    run(began + std::chrono::duration_cast<Clock::duration>(time));
    const double seconds = duration<double>(Clock::now() - began).count();
    return {static_cast<double>(readers_->entries() - entries) / seconds,
            static_cast<double>(readers_->frames() - frames) / seconds};
  }

  void Publish(std::int64_t begin_unix_nanos, double interval) {
    source_.Send(RecordBatch(source_.sent_through() + 1, kBatchRows, begin_unix_nanos, interval));
  }

  void Seen(int watcher, const Covers& covers, const grpc::ByteBuffer& frame) {
    const double interval = paced_interval_.load(std::memory_order_acquire);
    const std::int64_t row = covers.from - offset_.load(std::memory_order_relaxed) - paced_first_;
    if (interval > 0 && row >= 0) {
      const auto now = static_cast<double>(UnixNanos() - paced_begin_);
      for (std::int64_t i = row; i <= row + covers.to - covers.from; i += kRowsPerAge) {
        ages_.Add(1e-6 * (now - static_cast<double>(i) * interval));
      }
    }
    if (watcher == 0) Check(frame, interval);
  }

  void Check(const grpc::ByteBuffer& frame, double interval) {
    grpc::ByteBuffer bytes = frame;
    v1::WatchJobResponse response;
    if (!grpc::SerializationTraits<v1::WatchJobResponse>::Deserialize(&bytes, &response).ok()) Die("no frame");
    for (const v1::Segment& segment : response.segments()) {
      if (!segment.has_records()) continue;
      const std::int64_t first = segment.first_attempt_sequence();
      offset_.store(segment.first_sequence() - first);
      if (segment.records().columns(0).integers().values(0) != first) Die("a record is not what was published");
      if (interval <= 0 || first < paced_first_) continue;
      const double made = static_cast<double>(paced_begin_) + static_cast<double>(first - paced_first_) * interval;
      const auto said = static_cast<double>(segment.records().columns(3).integers().values(0));
      if (std::abs(said - made) > 1e6) Die("a record was made when it was not published");
    }
  }

  TelemetrySource source_;
  std::unique_ptr<FrameReaders> readers_;
  // A record's sequence less its attempt sequence: the server's own entries, all before the first record.
  std::atomic<std::int64_t> offset_{-1};
  Histogram ages_;
  // Set before the interval is.
  std::int64_t paced_first_ = 0, paced_begin_ = 0;
  std::atomic<double> paced_interval_{0};
};

void Print(const Delivered& delivered, const char* more = "") {
  std::printf("{\"entries_per_s\": %.0f, \"frames_per_s\": %.0f%s}\n", delivered.entries_per_s, delivered.frames_per_s,
              more);
}

struct StalledWatchers {
  std::string address, job_id;
  int count = 0, connections = 0;
};

// Prints pairs of rates: without those who never read, and with them. `measure` is told whether they are there.
template <class Measure>
void PrintPairs(const StalledWatchers& stalled, int pairs, const Measure& measure) {
  std::printf("\"pairs\": [");
  for (int i = 0; i < pairs; ++i) {
    double rates[2];
    // In turn, so that what drifts in one direction does not look like a cost.
    for (const int with : i % 2 == 0 ? std::array{0, 1} : std::array{1, 0}) {
      std::unique_ptr<FrameReaders> idle;
      if (with == 1) {
        idle = std::make_unique<FrameReaders>(
            FrameReaders::Stalled(stalled.address, stalled.job_id, stalled.count, stalled.connections));
      }
      rates[with] = measure(with == 1);
    }
    std::printf("%s[%.2f, %.2f]", i > 0 ? ", " : "", rates[0], rates[1]);
  }
  std::printf("]");
}

void Trained(const StalledWatchers& stalled, duration<double> time, int pairs) {
  Histogram ages;
  std::atomic<bool> counting{false};
  const FrameReaders reader(
      stalled.address, stalled.job_id, 1, 1, [&](int, const Covers&, const grpc::ByteBuffer& frame) {
        if (!counting) return;
        grpc::ByteBuffer bytes = frame;
        v1::WatchJobResponse response;
        if (!grpc::SerializationTraits<v1::WatchJobResponse>::Deserialize(&bytes, &response).ok()) Die("no frame");
        for (const v1::Segment& segment : response.segments()) {
          if (!segment.has_records()) continue;
          ages.Add(1e-6 * static_cast<double>(UnixNanos() - segment.records().columns(3).integers().values(0)));
          break;
        }
      });
  std::printf("{");
  PrintPairs(stalled, pairs, [&](bool with) {
    std::this_thread::sleep_for(kWarmUp);
    counting = with;
    const Clock::time_point began = Clock::now();
    const std::int64_t entries = reader.entries();
    std::this_thread::sleep_for(time);
    const double rate =
        static_cast<double>(reader.entries() - entries) / duration<double>(Clock::now() - began).count();
    counting = false;
    return rate;
  });
  std::printf(", \"age_ms_p50\": %.1f, \"age_ms_p99\": %.1f}\n", ages.Quantile(0.5), ages.Quantile(0.99));
  std::fflush(stdout);
  std::_Exit(0);
}

void Floor(const std::string& address, int watchers, int connections, duration<double> time) {
  const FrameReaders readers(address, "floor", watchers, connections, nullptr);
  std::this_thread::sleep_for(kWarmUp);
  const Clock::time_point began = Clock::now();
  const std::int64_t entries = readers.entries(), frames = readers.frames();
  std::this_thread::sleep_for(time);
  const double seconds = duration<double>(Clock::now() - began).count();
  Print({static_cast<double>(readers.entries() - entries) / seconds,
         static_cast<double>(readers.frames() - frames) / seconds});
  std::fflush(stdout);
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[2] : "";
  const bool known = (mode == "flat" && argc == 6) || (mode == "paced" && argc == 7) ||
                     (mode == "stalled" && argc == 9) || (mode == "trained" && argc == 8) ||
                     (mode == "floor" && argc == 6);
  if (!known) {
    std::fprintf(stderr, "usage: see the top of tests/bench/service/fanout_client.cc\n");
    return 2;
  }
  const std::string address = argv[1];
  if (mode == "trained") {
    Trained({address, argv[3], std::atoi(argv[5]), std::atoi(argv[6])}, duration<double>(std::atof(argv[4])),
            std::atoi(argv[7]));
  }
  const int watchers = std::atoi(argv[3]), connections = std::atoi(argv[4]);
  const duration<double> time(std::atof(argv[5]));
  if (mode == "floor") Floor(address, watchers, connections, time);
  auto* const fanout = new Fanout(address, watchers, connections);  // its worker's calls hang until the process ends
  if (mode == "flat") {
    Print(fanout->Flat(time));
  } else if (mode == "paced") {
    const Delivered delivered = fanout->Paced(time, std::atof(argv[6]));
    char ages[128];
    std::snprintf(ages, sizeof ages, ", \"age_ms_p50\": %.1f, \"age_ms_p99\": %.1f, \"age_ms_p999\": %.1f",
                  fanout->ages().Quantile(0.5), fanout->ages().Quantile(0.99), fanout->ages().Quantile(0.999));
    Print(delivered, ages);
  } else {
    std::printf("{");
    PrintPairs({address, fanout->job_id(), std::atoi(argv[6]), std::atoi(argv[7])}, std::atoi(argv[8]),
               [&](bool) { return fanout->Flat(time).entries_per_s; });
    std::printf("}\n");
  }
  std::fflush(stdout);
  std::_Exit(0);
}
