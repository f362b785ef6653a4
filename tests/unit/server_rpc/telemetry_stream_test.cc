#include <limits>

#include "server/store/sqlite.h"
#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

class TelemetryStreamTest : public ServerTest {
 protected:
  TelemetryStreamTest() {
    StartServer();
    job = Submit();
    worker = std::make_unique<FakeWorker>(*workers);
    worker->TakeAttempt();
    worker->Run();
  }

  v1::PublishTelemetryRequest Open() {
    v1::PublishTelemetryRequest request;
    *request.mutable_open() = worker->ref;
    return request;
  }
  v1::PublishTelemetryRequest Batch(int64_t first, int rows) {
    v1::PublishTelemetryRequest request;
    *request.mutable_attempt() = worker->ref;
    *request.add_segments() = worker->Records(first, rows);
    return request;
  }

  v1::Job job;
  std::unique_ptr<FakeWorker> worker;
};

TEST_F(TelemetryStreamTest, OpensWithTheHighWaterMarkAndAcknowledgesWhatIsStored) {
  worker->Publish({worker->Records(1, 7)});
  grpc::ClientContext context;
  auto stream = workers->PublishTelemetry(&context);
  v1::PublishTelemetryResponse ack;
  ASSERT_TRUE(stream->Write(Open()));
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_EQ(ack.job_id(), job.id());
  EXPECT_EQ(ack.attempt(), 1);
  EXPECT_EQ(ack.durable_through(), 7);
  ASSERT_TRUE(stream->Write(Batch(8, 3)));
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_EQ(ack.durable_through(), 10);
  EXPECT_FALSE(ack.lease_lost());
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&ack));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(TelemetryStreamTest, ManyBatchesOnOneStreamAreAllStoredAndTheLastIsAcknowledged) {
  grpc::ClientContext context;
  auto stream = workers->PublishTelemetry(&context);
  for (int64_t first = 1; first <= 5000; first += 50) ASSERT_TRUE(stream->Write(Batch(first, 50)));
  stream->WritesDone();
  v1::PublishTelemetryResponse ack;
  int64_t through = 0;
  while (stream->Read(&ack)) {
    EXPECT_GT(ack.durable_through(), through);
    through = ack.durable_through();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(through, 5000);
}

// A transaction writes the records of a job as one row. How many batches meet in one is the machine's affair; some do,
// or a slow disk would take one batch a write.
TEST_F(TelemetryStreamTest, BatchesThatComeDuringACommitShareTheNext) {
  auto database = SqliteConnection::Open(options.data_dir + "/mantissa.db", SqliteConnection::Mode::kReadOnly);
  ASSERT_TRUE(database.ok()) << database.status();
  const auto rows = [&] {
    auto count = (*database)->Prepare("SELECT COUNT(*) FROM telemetry WHERE severity = 0");
    return count.ok() && count->Step().value_or(false) ? count->Integer(0) : -1;
  };
  int64_t batches = 0;
  for (int round = 0; round < 20 && rows() == batches; ++round) {
    grpc::ClientContext context;
    auto stream = workers->PublishTelemetry(&context);
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(stream->Write(Batch(++batches, 1)));
    stream->WritesDone();
    v1::PublishTelemetryResponse ack;
    while (stream->Read(&ack)) {
    }
    ASSERT_TRUE(stream->Finish().ok());
    ASSERT_EQ(ack.durable_through(), batches);
  }
  EXPECT_GT(rows(), 0);
  EXPECT_LT(rows(), batches);
}

TEST_F(TelemetryStreamTest, OverlapIsDropped) {
  EXPECT_EQ(worker->Publish({worker->Records(1, 10)}).durable_through(), 10);
  EXPECT_EQ(worker->Publish({worker->Records(5, 10)}).durable_through(), 14);
  EXPECT_EQ(worker->Publish({worker->Records(1, 3)}).durable_through(), 14);
}

TEST_F(TelemetryStreamTest, AHoleEndsTheStreamAndStoresNothing) {
  grpc::Status status;
  worker->Publish({worker->Records(1, 10)});
  worker->Publish({worker->Records(12, 1)}, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ReasonOf(status), "TELEMETRY_HOLE");
  EXPECT_EQ(worker->Publish({worker->Records(11, 1)}).durable_through(), 11);
}

TEST_F(TelemetryStreamTest, AnAttemptWithoutItsLeaseIsToldSoAndTheStreamGoesOn) {
  grpc::ClientContext context;
  auto stream = workers->PublishTelemetry(&context);
  v1::PublishTelemetryRequest stale = Batch(1, 5);
  stale.mutable_attempt()->set_token(std::string(16, 'x'));
  ASSERT_TRUE(stream->Write(stale));
  v1::PublishTelemetryResponse ack;
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_TRUE(ack.lease_lost());
  EXPECT_EQ(ack.durable_through(), 0);
  ASSERT_TRUE(stream->Write(Batch(1, 5)));
  ASSERT_TRUE(stream->Read(&ack));
  EXPECT_FALSE(ack.lease_lost());
  EXPECT_EQ(ack.durable_through(), 5);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(TelemetryStreamTest, WhatIsMalformedEndsTheStreamWithItsField) {
  const auto send = [this](const v1::PublishTelemetryRequest& request) {
    grpc::ClientContext context;
    auto stream = workers->PublishTelemetry(&context);
    stream->Write(request);
    stream->WritesDone();
    v1::PublishTelemetryResponse ack;
    while (stream->Read(&ack)) {
    }
    return stream->Finish();
  };
  EXPECT_EQ(FieldOf(send(v1::PublishTelemetryRequest())), "attempt");
  v1::PublishTelemetryRequest only_open = Open();
  *only_open.add_segments() = worker->Records(1, 1);
  EXPECT_EQ(FieldOf(send(only_open)), "attempt");
  EXPECT_EQ(FieldOf(send(Batch(1, 257))), "segments");
  v1::PublishTelemetryRequest missing_value = Batch(1, 4);
  missing_value.mutable_segments(0)->mutable_records()->mutable_columns(2)->mutable_doubles()->add_values(1);
  EXPECT_EQ(send(missing_value).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::PublishTelemetryRequest huge_count = Batch(1, 4);
  huge_count.mutable_segments(0)->set_count(std::numeric_limits<int32_t>::max());
  EXPECT_EQ(send(huge_count).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::PublishTelemetryRequest negative = Batch(1, 4);
  negative.mutable_segments(0)->set_count(-4);
  EXPECT_EQ(send(negative).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(worker->Publish({worker->Records(1, 1)}).durable_through(), 1) << "nothing of it was stored";
}

TEST_F(TelemetryStreamTest, AClientThatVanishesLeavesNothingBehind) {
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    auto stream = workers->PublishTelemetry(&context);
    stream->Write(Batch(1, 20));
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_EQ(worker->Publish({worker->Records(1, 20)}).durable_through(), 20);
  server->Drain(std::chrono::seconds(30));
}

TEST_F(TelemetryStreamTest, ProgressIsSeenByGetJob) {
  worker->Publish({worker->Records(1, 42)});
  EXPECT_EQ(Get(job.id()).progress().iteration(), 42);
  EXPECT_DOUBLE_EQ(Get(job.id()).progress().loss(), 1.0 / 42);
}

}  // namespace
}  // namespace mantissa::server
