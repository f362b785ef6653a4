// The least that a watch can cost with the same parts: a gRPC callback server that has one frame of 256 records,
// encoded once, and sends it to every reader as fast as it takes it. Only the cover, twenty bytes, is each reader's
// own.
//
//   bench_fanout_floor      prints its port
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include <grpcpp/server_builder.h>

#include "mantissa/v1/job_service.grpc.pb.h"
#include "record_batch.h"

namespace {

using namespace mantissa;

grpc::Slice EncodedBatch() {
  v1::WatchJobResponse frame;
  *frame.add_segments() = bench::RecordBatch(1, bench::kBatchRows, 1'700'000'000'000'000'000, 1e6);
  return grpc::Slice(frame.SerializeAsString());
}

class Reader final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit Reader(const grpc::Slice& batch) : batch_(batch) { Write(); }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    Write();
  }
  void OnDone() override { delete this; }

 private:
  void Write() {
    v1::WatchJobResponse rest;
    rest.mutable_covers()->set_from(last_ + 1);
    rest.mutable_covers()->set_to(last_ += bench::kBatchRows);
    const grpc::Slice slices[] = {batch_, grpc::Slice(rest.SerializeAsString())};
    frame_ = grpc::ByteBuffer(slices, 2);
    StartWrite(&frame_);
  }

  const grpc::Slice& batch_;
  grpc::ByteBuffer frame_;
  std::int64_t last_ = 0;
};

class Floor final : public v1::JobService::WithRawCallbackMethod_WatchJob<v1::JobService::Service> {
 public:
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchJob(grpc::CallbackServerContext*, const grpc::ByteBuffer*) override {
    return new Reader(batch_);
  }

 private:
  const grpc::Slice batch_ = EncodedBatch();
};

}  // namespace

int main() {
  Floor floor;
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 4'000);  // clients ping
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&floor);
  const auto server = builder.BuildAndStart();
  std::printf("%d\n", port);
  std::fflush(stdout);
  server->Wait();
}
