// A client of KEDA's own proto, as KEDA is one.
#include <functional>

#include "gmock/gmock.h"

#include "externalscaler/externalscaler.grpc.pb.h"
#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

using Metadata = std::map<std::string, std::string>;

class ExternalScalerTest : public ServerTest {
 protected:
  ExternalScalerTest() {
    StartServer();
    keda = externalscaler::ExternalScaler::NewStub(NewChannel());
  }

  static externalscaler::ScaledObjectRef Ref(const Metadata& metadata) {
    externalscaler::ScaledObjectRef ref;
    ref.set_name("mantissa-worker");
    ref.set_namespace_("mantissa");
    ref.mutable_scalermetadata()->insert(metadata.begin(), metadata.end());
    return ref;
  }

  bool IsActive(const Metadata& metadata = {}) {
    grpc::ClientContext context;
    externalscaler::IsActiveResponse response;
    const grpc::Status status = keda->IsActive(&context, Ref(metadata), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.result();
  }

  grpc::Status Metrics(const Metadata& metadata, const std::string& metric,
                       externalscaler::GetMetricsResponse& response) {
    grpc::ClientContext context;
    externalscaler::GetMetricsRequest request;
    *request.mutable_scaledobjectref() = Ref(metadata);
    request.set_metricname(metric);
    return keda->GetMetrics(&context, request, &response);
  }

  // As KEDA does it: the spec names the metric, and its value is asked for by that name.
  double Depth(const Metadata& metadata = {}) {
    grpc::ClientContext context;
    externalscaler::GetMetricSpecResponse spec;
    grpc::Status status = keda->GetMetricSpec(&context, Ref(metadata), &spec);
    EXPECT_TRUE(status.ok()) << status.error_message();
    externalscaler::GetMetricsResponse response;
    status = Metrics(metadata, spec.metricspecs(0).metricname(), response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (response.metricvalues_size() != 1) return -1;
    EXPECT_EQ(response.metricvalues(0).metricname(), spec.metricspecs(0).metricname());
    EXPECT_EQ(static_cast<double>(response.metricvalues(0).metricvalue()), response.metricvalues(0).metricvaluefloat())
        << "old and new versions of KEDA are told the same";
    return response.metricvalues(0).metricvaluefloat();
  }

  // What is said of metadata that is wrong: the field, and what is wrong with it.
  std::string Complaint(const Metadata& metadata) {
    grpc::ClientContext context;
    externalscaler::IsActiveResponse response;
    const grpc::Status status = keda->IsActive(&context, Ref(metadata), &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    const google::rpc::BadRequest bad = BadRequestOf(status);
    if (bad.field_violations().empty()) return "";
    return bad.field_violations(0).field() + " " + bad.field_violations(0).description();
  }

  v1::Job SubmitFor(v1::ResourceSpec::Device device, const std::string& team = "", const std::string& zone = "") {
    v1::JobSpec spec = GoodSpec();
    spec.mutable_resources()->set_device(device);
    if (!team.empty()) (*spec.mutable_labels())["team"] = team;
    if (!zone.empty()) (*spec.mutable_resources()->mutable_worker_selector())["zone"] = zone;
    return Submit(spec);
  }

  std::unique_ptr<externalscaler::ExternalScaler::Stub> keda;
};

TEST_F(ExternalScalerTest, TheQueueIsCountedAsItGrowsAndShrinks) {
  EXPECT_FALSE(IsActive());
  EXPECT_EQ(Depth(), 0);
  const v1::Job first = Submit();
  Submit();
  EXPECT_TRUE(IsActive());
  EXPECT_EQ(Depth(), 2);
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  EXPECT_EQ(Depth(), 1) << "one has its worker";
  worker.Run();
  worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
  EXPECT_EQ(Get(first.id()).state(), v1::Job::SUCCEEDED);
}

TEST_F(ExternalScalerTest, EachTriggerCountsWhatItsWorkersCouldTake) {
  SubmitFor(v1::ResourceSpec::CUDA, "vision");
  SubmitFor(v1::ResourceSpec::CUDA, "speech");
  SubmitFor(v1::ResourceSpec::CPU, "vision");
  SubmitFor(v1::ResourceSpec::AUTO, "vision", "a");
  EXPECT_EQ(Depth({{"devices", "CUDA"}}), 2);
  EXPECT_EQ(Depth({{"devices", "CPU, AUTO"}}), 1) << "the fourth is for workers in zone a";
  EXPECT_EQ(Depth({{"devices", "CPU,AUTO"}, {"workerLabels", "zone=a,disk=ssd"}}), 2);
  EXPECT_EQ(Depth({{"labels", "team=vision"}}), 2);
  EXPECT_EQ(Depth({{"labels", "team=vision"}, {"devices", "CUDA"}}), 1);
  EXPECT_FALSE(IsActive({{"labels", "team=audio"}}));
  // What KEDA itself reads comes along.
  EXPECT_EQ(Depth({{"scalerAddress", "mantissa:50051"}, {"enableTLS", "true"}, {"unsafeSsl", "false"}}), 3);
}

TEST_F(ExternalScalerTest, TheTargetIsWhatTheTriggerSays) {
  for (const auto& [metadata, target] : std::map<Metadata, int64_t>{{{}, 1}, {{{"jobsPerWorker", "8"}}, 8}}) {
    grpc::ClientContext context;
    externalscaler::GetMetricSpecResponse spec;
    ASSERT_TRUE(keda->GetMetricSpec(&context, Ref(metadata), &spec).ok());
    ASSERT_EQ(spec.metricspecs_size(), 1);
    EXPECT_EQ(spec.metricspecs(0).metricname(), "mantissa_queued_jobs");
    EXPECT_EQ(spec.metricspecs(0).targetsize(), target);
    EXPECT_EQ(spec.metricspecs(0).targetsizefloat(), static_cast<double>(target));
  }
}

TEST_F(ExternalScalerTest, AStreamSaysAtOnceAndThenOnEveryTurn) {
  grpc::ClientContext context;
  auto stream = keda->StreamIsActive(&context, Ref({{"devices", "CPU"}}));
  externalscaler::IsActiveResponse frame;
  ASSERT_TRUE(stream->Read(&frame));
  EXPECT_FALSE(frame.result());

  SubmitFor(v1::ResourceSpec::CUDA);  // not this trigger's
  SubmitFor(v1::ResourceSpec::CPU);
  ASSERT_TRUE(stream->Read(&frame));
  EXPECT_TRUE(frame.result());

  FakeWorker worker(*workers);
  worker.TakeAttempt();
  ASSERT_TRUE(stream->Read(&frame));
  EXPECT_FALSE(frame.result()) << "what runs needs no other worker";

  context.TryCancel();
  while (stream->Read(&frame)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ExternalScalerTest, AServerThatGoesEndsItsStreams) {
  grpc::ClientContext context;
  auto stream = keda->StreamIsActive(&context, Ref({}));
  externalscaler::IsActiveResponse frame;
  ASSERT_TRUE(stream->Read(&frame));
  server->Drain(std::chrono::milliseconds(60'000));
  EXPECT_FALSE(stream->Read(&frame));
  const grpc::Status ended = stream->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(ended), "SHUTTING_DOWN");
}

TEST_F(ExternalScalerTest, WhatIsWrongInATriggerIsNamed) {
  EXPECT_EQ(Complaint({{"devices", "TPU"}}),
            "scalerMetadata.devices 'TPU' is none; AUTO, CPU and CUDA are, e.g. \"CPU,AUTO\"");
  EXPECT_THAT(Complaint({{"labels", "vision"}}), testing::HasSubstr("scalerMetadata.labels 'vision' is no label"));
  EXPECT_THAT(Complaint({{"labels", "=x"}}), testing::HasSubstr("is no label"));
  EXPECT_THAT(Complaint({{"workerLabels", "a=1,a=2"}}), testing::HasSubstr("scalerMetadata.workerLabels 'a' is given"));
  for (const char* const count : {"0", "-1", "1.5", "many", "1000001", ""}) {
    EXPECT_THAT(Complaint({{"jobsPerWorker", count}}), testing::HasSubstr("scalerMetadata.jobsPerWorker '")) << count;
  }
  EXPECT_EQ(Complaint({{"device", "CPU"}}), "scalerMetadata.device is no key of this scaler; did you mean 'devices'?");

  grpc::ClientContext context;
  auto stream = keda->StreamIsActive(&context, Ref({{"devices", "TPU"}}));
  externalscaler::IsActiveResponse frame;
  EXPECT_FALSE(stream->Read(&frame));
  EXPECT_EQ(FieldOf(stream->Finish()), "scalerMetadata.devices");

  externalscaler::GetMetricsResponse response;
  EXPECT_EQ(FieldOf(Metrics({}, "queue", response)), "metricName");
  EXPECT_EQ(FieldOf(Metrics({{"devices", "TPU"}}, "mantissa_queued_jobs", response)), "scalerMetadata.devices");
}

}  // namespace
}  // namespace mantissa::server
