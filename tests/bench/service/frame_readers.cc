#include "frame_readers.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include "fake_worker.h"
#include "mantissa/v1/job_service.grpc.pb.h"

namespace mantissa::bench {
namespace {

using Stub = grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>;

// Steps over the segments.
Covers CoversOf(grpc::ByteBuffer& frame) {
  constexpr std::uint32_t kTag = v1::WatchJobResponse::kCoversFieldNumber << 3 | 2;
  grpc::ProtoBufferReader bytes(&frame);
  google::protobuf::io::CodedInputStream in(&bytes);
  while (const std::uint32_t tag = in.ReadTag()) {
    std::uint32_t size = 0;
    if (!in.ReadVarint32(&size)) break;
    if (tag == kTag) {
      std::string text;
      v1::SequenceRange range;
      if (!in.ReadString(&text, static_cast<int>(size)) || !range.ParseFromString(text)) break;
      return {range.from(), range.to()};
    }
    if ((tag & 7) == 2 && !in.Skip(static_cast<int>(size))) break;
  }
  return {};
}

}  // namespace

class FrameReaders::Reader final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Reader(int number, const std::string& job_id, Stub& stub, OnFrame on_frame, bool reads)
      : number_(number), on_frame_(std::move(on_frame)) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    bool own = false;
    grpc::SerializationTraits<v1::WatchJobRequest>::Serialize(request, &request_, &own);
    stub.PrepareBidiStreamingCall(&context_, "/mantissa.v1.JobService/WatchJob", {}, this);
    StartWriteLast(&request_, grpc::WriteOptions());
    if (reads) StartRead(&frame_);
    StartCall();
  }
  ~Reader() override {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const Covers covers = CoversOf(frame_);
    if (covers.to >= covers.from) {
      const std::int64_t last = last_.load(std::memory_order_relaxed);
      if (covers.from != last + 1) {
        Die("a watcher has " + std::to_string(last) + " and gets " + std::to_string(covers.from));
      }
      last_.store(covers.to, std::memory_order_relaxed);
      frames_.store(frames_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      if (on_frame_) on_frame_(number_, covers, frame_);
    }
    frame_.Clear();
    StartRead(&frame_);
  }
  void OnDone(const grpc::Status& status) override {
    if (status.error_code() != grpc::StatusCode::CANCELLED) Die("a watch ended: " + status.error_message());
    std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }

  std::int64_t last() const { return last_.load(std::memory_order_relaxed); }
  std::int64_t frames() const { return frames_.load(std::memory_order_relaxed); }

 private:
  const int number_;
  const OnFrame on_frame_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_, frame_;
  std::atomic<std::int64_t> last_{0}, frames_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

FrameReaders::FrameReaders(const std::string& address, const std::string& job_id, int count, int connections,
                           OnFrame on_frame)
    : FrameReaders(address, job_id, count, connections, std::move(on_frame), true) {}

FrameReaders FrameReaders::Stalled(const std::string& address, const std::string& job_id, int count, int connections) {
  return {address, job_id, count, connections, nullptr, false};
}

FrameReaders::FrameReaders(const std::string& address, const std::string& job_id, int count, int connections,
                           OnFrame on_frame, bool reads) {
  for (int i = 0; i < connections; ++i) channels_.push_back(Connect(address, /*fixed_windows=*/!reads));
  for (int i = 0; i < count; ++i) {
    Stub stub(channels_[i % connections]);
    readers_.push_back(std::make_unique<Reader>(i, job_id, stub, on_frame, reads));
  }
}

FrameReaders::~FrameReaders() = default;
FrameReaders::FrameReaders(FrameReaders&&) = default;

std::int64_t FrameReaders::entries() const {
  std::int64_t sum = 0;
  for (const auto& reader : readers_) sum += reader->last();
  return sum;
}

std::int64_t FrameReaders::frames() const {
  std::int64_t sum = 0;
  for (const auto& reader : readers_) sum += reader->frames();
  return sum;
}

std::int64_t FrameReaders::slowest() const {
  std::int64_t least = readers_.front()->last();
  for (const auto& reader : readers_) least = std::min(least, reader->last());
  return least;
}

}  // namespace mantissa::bench
