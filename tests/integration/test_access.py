"""Who may call what, and whose jobs they see: every method that the server serves, called by everybody."""
import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conftest import until
from secured import refusal, retry_info, secured  # noqa: F401 (a fixture)

READERS, USERS, ADMINS = {"reader", "user", "admin"}, {"user", "admin"}, {"admin"}
WORKERS, EVERYBODY = {"worker"}, {"reader", "user", "admin", "worker", "anonymous"}

# What the server's own table has to say, written down once more: a row that is changed there wants a reason here.
MAY = {
    **{f"mantissa.v1.JobService/{name}": READERS for name in (
        "GetJob", "ListJobs", "WatchJob", "WatchJobs", "QueryHistory", "ListAttempts", "ListEvents", "ReadLogs",
        "ListCheckpoints", "ListArtifacts", "DownloadArtifact", "GetReport", "ListRoots")},
    **{f"mantissa.v1.JobService/{name}": USERS for name in (
        "SubmitJob", "SubmitJobs", "UpdateJob", "CancelJob", "CancelJobs", "PauseJob", "ResumeJob", "DeleteJob")},
    **{f"mantissa.v1.AdminService/{name}": READERS for name in ("ListWorkers", "GetServerInfo")},
    **{f"mantissa.v1.AdminService/{name}": ADMINS for name in ("DrainWorker", "RequeueJob")},
    **{f"mantissa.v1.WorkerService/{name}": WORKERS for name in (
        "Synchronize", "PublishTelemetry", "PublishLogs", "CommitCheckpoint", "UploadArtifact")},
    **{f"externalscaler.ExternalScaler/{name}": READERS for name in (
        "IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics")},
    "grpc.health.v1.Health/Check": EVERYBODY,
    "grpc.health.v1.Health/Watch": EVERYBODY,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": READERS,
}
CANARY = "a-name-that-no-other-tenant-may-read"


class Method:
    """One method as reflection tells of it, called with plain bytes."""

    def __init__(self, service, descriptor):
        self.name = f"{service}/{descriptor.name}"
        self.descriptor = descriptor
        self.request = message_factory.GetMessageClass(descriptor.input_type)
        self.response = message_factory.GetMessageClass(descriptor.output_type)

    @property
    def names_a_job(self):
        return "job_id" in self.descriptor.input_type.fields_by_name

    def fill(self, job_id, worker_id):
        request = self.request()
        fields = self.descriptor.input_type.fields_by_name
        if self.names_a_job:
            request.job_id = job_id
        if "worker_id" in fields:
            request.worker_id = worker_id
        if self.name.endswith("/CancelJobs"):
            request.filter.name = CANARY
        if self.name.endswith("/UpdateJob"):
            request.update_mask.paths.append("labels")
        if self.name.endswith("/Synchronize"):
            request.session_id = "a-session"
            request.report_number = 1
            request.max_hang.SetInParent()  # 0: answered at once
        if self.name.endswith("/ListJobs"):
            request.view = 2  # FULL
        return request

    def call(self, channel, request):
        """The first answer, or what there is of it; raises the refusal."""
        up, down = self.descriptor.client_streaming, self.descriptor.server_streaming
        make = {(False, False): channel.unary_unary, (False, True): channel.unary_stream,
                (True, False): channel.stream_unary, (True, True): channel.stream_stream}[up, down]
        stub = make(f"/{self.name}", request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=self.response.FromString)
        answer = stub(iter([request]) if up else request, timeout=20)
        if not down:
            return answer
        try:
            return next(answer)
        except StopIteration:
            return None
        finally:
            answer.cancel()


def served(channel):
    """Every method that reflection knows."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    for service in database.get_services():
        if service == "grpc.health.v1.Health":  # gRPC serves it without its descriptor
            health = health_pb2.DESCRIPTOR.services_by_name["Health"]
            yield from (Method(service, health.methods_by_name[name]) for name in ("Check", "Watch"))
            continue
        for method in pool.FindServiceByName(service).methods:
            yield Method(service, method)


@pytest.fixture
def callers(secured):  # noqa: F811
    """A channel of each kind of caller; `own` is the tenant that the jobs are of."""
    return {
        ("user", "own"): secured.secure_channel(token=secured.make_token("own", "user")),
        ("reader", "own"): secured.secure_channel(token=secured.make_token("own", "reader")),
        ("user", "other"): secured.secure_channel(token=secured.make_token("other", "user")),
        ("reader", "other"): secured.as_certificate("client", "other", "reader"),
        ("admin", "ops"): secured.channel(),
        ("admin", "other"): secured.as_certificate("client", "other", "admin"),
        ("worker", ""): secured.as_certificate("worker", "ws-1"),
        ("anonymous", ""): secured.secure_channel(),
    }


def outcome(method, channel, request):
    """(code, reason, answer)."""
    answer = []
    refused = refusal(lambda: answer.append(method.call(channel, request)))
    return (*(refused or ("OK", "")), answer[0] if answer else None)


def test_every_method_by_everybody(secured, callers):  # noqa: F811
    until(lambda: refusal(lambda: jobs_of(callers["user", "own"], secured).ListJobs(
        secured.pb("job_service").ListJobsRequest())) is None, "the server has read the new tokens")
    methods = list(served(secured.channel()))
    assert {method.name for method in methods} == set(MAY), "served, and with a row here"
    own = jobs_of(callers["user", "own"], secured)

    def fresh():
        spec = secured.digits()
        spec.name = CANARY
        return own.SubmitJob(secured.pb("job_service").SubmitJobRequest(spec=spec))

    cells = 0
    # Those that change nothing come last in no order that matters; who may not comes before who may.
    for method in methods:
        job = fresh()
        request = method.fill(job.id, "ws-1")
        for (role, tenant), channel in sorted(callers.items(), key=lambda item: item[0] == ("user", "own")):
            where = f"{method.name} by {role} of {tenant or 'nobody'}"
            code, reason, answer = outcome(method, channel, request)
            cells += 1
            if role not in MAY[method.name]:
                expected = "UNAUTHENTICATED" if role == "anonymous" else "PERMISSION_DENIED"
                assert code == expected, f"{where}: {code} {reason}"
                if method.name.startswith("mantissa.v1.") and role != "anonymous":
                    assert reason == "ROLE_NOT_ALLOWED", where
                continue
            assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED"), f"{where}: {code} {reason}"
            if tenant == "other" and role != "admin":
                if method.names_a_job:
                    assert (code, reason) == ("NOT_FOUND", "JOB_NOT_FOUND"), f"{where}: {code} {reason}"
                said = answer.SerializeToString() if answer is not None else b""
                assert CANARY.encode() not in said, f"{where} reads another tenant's job"
                assert method.names_a_job or job.id.encode() not in said, f"{where} learns of another tenant's job"
        if method.name not in {f"mantissa.v1.JobService/{name}" for name in (
                "CancelJob", "CancelJobs", "PauseJob", "ResumeJob", "UpdateJob", "DeleteJob")}:
            left = own.GetJob(secured.pb("job_service").GetJobRequest(job_id=job.id))
            assert left.state == job.state, f"{method.name} changed a job"
    assert cells == len(MAY) * len(callers)
    print(f"{len(methods)} methods x {len(callers)} callers = {cells} cells")


def jobs_of(channel, cluster):
    from mantissa.v1 import job_service_pb2_grpc
    return job_service_pb2_grpc.JobServiceStub(channel)


def test_another_tenants_change_changes_nothing(secured, callers):  # noqa: F811
    pb = secured.pb("job_service")
    own, other = jobs_of(callers["user", "own"], secured), jobs_of(callers["user", "other"], secured)
    until(lambda: refusal(lambda: other.ListJobs(pb.ListJobsRequest())) is None, "the tokens are known")
    job = own.SubmitJob(pb.SubmitJobRequest(spec=secured.digits(), request_id="the-same-id"))
    update = pb.UpdateJobRequest(job_id=job.id)
    update.spec.priority = 7
    update.update_mask.paths.append("priority")
    for call in (lambda: other.CancelJob(pb.CancelJobRequest(job_id=job.id)),
                 lambda: other.PauseJob(pb.PauseJobRequest(job_id=job.id)),
                 lambda: other.UpdateJob(update),
                 lambda: other.DeleteJob(pb.DeleteJobRequest(job_id=job.id))):
        assert refusal(call) == ("NOT_FOUND", "JOB_NOT_FOUND")
    everything = pb.CancelJobsRequest()
    everything.filter.states.append(secured.pb("job").Job.QUEUED)
    assert list(other.CancelJobs(everything).job_ids) == []
    assert own.GetJob(pb.GetJobRequest(job_id=job.id)).etag == job.etag
    # A checkpoint of it is not theirs to begin from, and says no more than that there is no such job.
    spec = secured.digits()
    spec.training.init_from.job_id = job.id
    with pytest.raises(grpc.RpcError) as caught:
        other.SubmitJob(pb.SubmitJobRequest(spec=spec))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "no such job" in caught.value.details()
    # Request ids are a tenant's own.
    theirs = other.SubmitJob(pb.SubmitJobRequest(spec=secured.digits(iterations=7), request_id="the-same-id"))
    assert theirs.id != job.id and theirs.tenant == "other" and job.tenant == "own"


def test_admins_see_everybody_and_may_name_a_tenant(secured, callers):  # noqa: F811
    pb = secured.pb("job_service")
    own, admin = jobs_of(callers["user", "own"], secured), jobs_of(callers["admin", "ops"], secured)
    until(lambda: refusal(lambda: own.ListJobs(pb.ListJobsRequest())) is None, "the tokens are known")
    job = own.SubmitJob(pb.SubmitJobRequest(spec=secured.digits()))
    named = admin.SubmitJob(pb.SubmitJobRequest(spec=secured.digits(), tenant="third"))
    mine = admin.SubmitJob(pb.SubmitJobRequest(spec=secured.digits()))
    assert (named.tenant, mine.tenant) == ("third", "ops")
    assert {job.id, named.id, mine.id} <= {listed.id for listed in admin.ListJobs(pb.ListJobsRequest()).jobs}
    for_third = {"metadata": [("mantissa-tenant", "third")]}
    assert [listed.id for listed in admin.ListJobs(pb.ListJobsRequest(), **for_third).jobs] == [named.id]
    assert refusal(lambda: admin.GetJob(pb.GetJobRequest(job_id=job.id), **for_third)) == ("NOT_FOUND", "JOB_NOT_FOUND")
    # A filter ends the jobs of one tenant: the one that is named, else the admin's own.
    queued = pb.CancelJobsRequest()
    queued.filter.states.append(secured.pb("job").Job.QUEUED)
    assert list(admin.CancelJobs(queued).job_ids) == [mine.id]
    assert list(admin.CancelJobs(queued, **for_third).job_ids) == [named.id]
    assert own.GetJob(pb.GetJobRequest(job_id=job.id)).state == secured.pb("job").Job.QUEUED
    for refused in (lambda: own.ListJobs(pb.ListJobsRequest(), **for_third),
                    lambda: own.SubmitJob(pb.SubmitJobRequest(spec=secured.digits(), tenant="third"))):
        assert refusal(refused) == ("PERMISSION_DENIED", "TENANT_NOT_ALLOWED")


def test_a_workers_certificate_is_of_one_worker(secured):  # noqa: F811
    from mantissa.v1 import worker_service_pb2, worker_service_pb2_grpc
    worker = worker_service_pb2_grpc.WorkerServiceStub(secured.as_certificate("worker", "ws-1"))
    report = worker_service_pb2.SynchronizeRequest(worker_id="ws-1", session_id="s", report_number=1)
    report.max_hang.SetInParent()
    assert refusal(lambda: worker.Synchronize(report)) is None
    report.worker_id = "ws-2"
    assert refusal(lambda: worker.Synchronize(report)) == ("PERMISSION_DENIED", "WORKER_ID_NOT_YOURS")


def test_what_is_shown_is_believed_only_as_it_is(secured):  # noqa: F811
    pb = secured.pb("job_service")
    listing = pb.ListJobsRequest()

    def with_authorization(*values):
        return refusal(lambda: jobs_of(secured.secure_channel(), secured).ListJobs(
            listing, metadata=[("authorization", value) for value in values]))

    good = secured.root
    assert with_authorization(f"Bearer {good}") is None
    assert with_authorization(f"bearer {good}") is None, "the scheme has no case (RFC 9110)"
    for wrong in (good, f"Basic {good}", f"Bearer {good}x", f"Bearer {good[:-1]}", "Bearer ", "Bearer",
                  f"Bearer  {good}"):
        assert with_authorization(wrong) == ("UNAUTHENTICATED", ""), wrong.replace(good, "GOOD")
    assert with_authorization(f"Bearer {good}", f"Bearer {good}") == ("UNAUTHENTICATED", "")
    # What the file holds opens nothing.
    stored = secured.tokens.read_text().split("sha256:")[1].split()[0]
    assert with_authorization(f"Bearer {stored}") == ("UNAUTHENTICATED", "")


def test_tokens_come_and_go_while_the_server_runs(secured):  # noqa: F811
    pb = secured.pb("job_service")
    token = secured.make_token("vision", "user", name="a laptop")
    user = jobs_of(secured.secure_channel(token=token), secured)
    until(lambda: refusal(lambda: user.ListJobs(pb.ListJobsRequest())) is None, "the token is known")
    stream = user.WatchJobs(pb.WatchJobsRequest())
    next(stream)
    # A line that is wrong takes nothing away: the tokens stay as they were, and the log says which line.
    good = secured.tokens.read_text()
    secured.tokens.write_text("nonsense " + good)
    until(lambda: "line 1 does not begin with sha256:" in secured.server.log_text(), "the log says what is wrong")
    assert "nonsense" not in secured.server.log_text()
    assert refusal(lambda: user.ListJobs(pb.ListJobsRequest())) is None
    # Taken back: calls are refused, and a stream that is open ends before its next frame.
    secured.tokens.write_text("".join(line for line in good.splitlines(True) if "a laptop" not in line))
    until(lambda: refusal(lambda: user.ListJobs(pb.ListJobsRequest())) == ("UNAUTHENTICATED", ""),
          "the token is taken back")
    secured.jobs().SubmitJob(pb.SubmitJobRequest(spec=secured.digits(), tenant="vision"))
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_tenants_rate_is_its_own(secured):  # noqa: F811
    secured.server.terminate()
    secured.start_server(MANTISSA_TENANT_CALLS_PER_SECOND="20")
    pb = secured.pb("job_service")
    greedy = jobs_of(secured.secure_channel(token=secured.make_token("greedy", "user")), secured)
    modest = jobs_of(secured.secure_channel(token=secured.make_token("modest", "user")), secured)
    listing = pb.ListJobsRequest()
    for stub in (greedy, modest):
        until(lambda: refusal(lambda: stub.ListJobs(listing)) is None, "the tokens are known")
    until(lambda: refusal(lambda: greedy.ListJobs(listing)) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED"), "refused")
    assert refusal(lambda: modest.ListJobs(listing)) is None, "another tenant is let in"
    assert retry_info(lambda: [greedy.ListJobs(listing) for _ in range(1000)]), "and told when to come back"
    until(lambda: refusal(lambda: greedy.ListJobs(listing)) is None, "the rate comes back with time")
    assert 'mantissa_refused_calls_total{reason="RATE_LIMITED"}' in scrape(secured)


def test_a_tenants_queue_and_streams_are_its_own(secured):  # noqa: F811
    secured.server.terminate()
    secured.start_server(MANTISSA_TENANT_MAX_QUEUED_JOBS="2", MANTISSA_TENANT_MAX_STREAMS="1")
    pb = secured.pb("job_service")
    greedy = jobs_of(secured.secure_channel(token=secured.make_token("greedy", "user")), secured)
    modest = jobs_of(secured.secure_channel(token=secured.make_token("modest", "user")), secured)
    submit = pb.SubmitJobRequest(spec=secured.digits())
    for stub in (greedy, modest):
        until(lambda: refusal(lambda: stub.ListJobs(pb.ListJobsRequest())) is None, "the tokens are known")
    waiting = [greedy.SubmitJob(submit) for _ in range(2)]
    assert refusal(lambda: greedy.SubmitJob(submit)) == ("RESOURCE_EXHAUSTED", "TENANT_QUEUE_FULL")
    assert retry_info(lambda: greedy.SubmitJob(submit))
    assert refusal(lambda: modest.SubmitJob(submit)) is None
    greedy.CancelJob(pb.CancelJobRequest(job_id=waiting[0].id))
    assert refusal(lambda: greedy.SubmitJob(submit)) is None, "a job that has left the queue makes room"

    def watch(stub):
        stream = stub.WatchJobs(pb.WatchJobsRequest())
        return stream, refusal(lambda: next(stream))

    first, let_in = watch(greedy)
    assert let_in is None
    assert watch(greedy)[1] == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
    assert retry_info(lambda: next(greedy.WatchJobs(pb.WatchJobsRequest())))
    assert watch(modest)[1] is None
    first.cancel()
    until(lambda: watch(greedy)[1] is None, "a place that was given back is there again")
    assert 'mantissa_refused_calls_total{reason="TOO_MANY_STREAMS"}' in scrape(secured)


def scrape(cluster):
    import urllib.request
    with urllib.request.urlopen(f"http://{cluster.metrics}/metrics") as answer:
        return answer.read().decode()
